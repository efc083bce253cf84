# Varnish as a caching gateway: checks tokens by equality, injects the partner's key, one lifetime and a day of grace.
# Given @names@ by servers.py: the condition over all tokens, the partner's port and key.
# Never keyed by caller or host; below other/ everything passes.
vcl 4.1;

backend partner {
    .host = "127.0.0.1";
    .port = "@partner@";
}

sub vcl_recv {
    if (!(@known@)) {
        return (synth(401));
    }
    unset req.http.Authorization;
    if ((req.method != "GET" && req.method != "HEAD") || req.url ~ "^/reseller/account/v1/other/") {
        return (pass);
    }
    return (hash);
}

sub vcl_hash {
    hash_data(req.url);
    return (lookup);
}

sub vcl_backend_fetch {
    set bereq.http.X-Reseller-Api-Key = "@key@";
    return (fetch);
}

sub vcl_backend_response {
    if (!bereq.uncacheable && beresp.status == 200) {
        set beresp.ttl = 1h;
        set beresp.grace = 24h;
    }
    return (deliver);
}
