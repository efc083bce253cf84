//! In which words does a cache speak of itself?
//! Given a decision, hands back its fixed word for `Cache-Status` (RFC 9211), the log and the metrics alike.
//! Never holds free text: whoever reads one of them can search for it in the other two.

/// Why a request went on to the partner (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing is held for this target.
    UriMiss,
    /// Something is, but the partner chooses by headers that differ here.
    VaryMiss,
    /// What is held is stale, or is to be asked for each time.
    Stale,
    /// The request's own directives wanted it.
    Request,
    /// The route stores nothing, or the request is of a kind that is never answered from memory.
    Bypass,
    /// The method is one that the partner has to see.
    Method,
}

impl Why {
    /// The fixed word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Bypass => "bypass",
            Self::Method => "method",
        }
    }
}

/// What else there is to say: why something is not stored, or why something stale was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The answer says `no-store`.
    NoStore,
    /// The request says `no-store`.
    RequestNoStore,
    /// The answer says `private`.
    Private,
    /// The request carried an `Authorization`, and nothing in the answer opens it to others.
    Authorization,
    /// `Vary: *`.
    Vary,
    /// A status that is not understood well enough, or has no lifetime of its own.
    Status,
    /// Nothing says or lets guess how long it is fresh.
    NoLifetime,
    /// A part is never stored as a whole, and parts are not kept.
    Partial,
    /// Larger than `cache.max_object`.
    TooLarge,
    /// Its resource was changed through us while it was under way.
    Superseded,
    /// The route says `store = false`.
    Route,
    /// It was purged while its answer was under way.
    Purged,
    /// Stale, and a fresh one is being fetched.
    StaleWhileRevalidate,
    /// Stale, since the partner failed.
    StaleIfError,
    /// Stale, as the request takes it.
    MaxStale,
    /// The request wanted a fresher answer than its rights can force.
    Clamped,
}

impl Detail {
    /// All of them, in the order of their metrics.
    pub const ALL: [Self; 16] = [
        Self::NoStore,
        Self::RequestNoStore,
        Self::Private,
        Self::Authorization,
        Self::Vary,
        Self::Status,
        Self::NoLifetime,
        Self::Partial,
        Self::TooLarge,
        Self::Superseded,
        Self::Purged,
        Self::Route,
        Self::StaleWhileRevalidate,
        Self::StaleIfError,
        Self::MaxStale,
        Self::Clamped,
    ];

    /// Of the reasons for not storing: whether the upstream forbids it, so that the next answer will be no different.
    pub const fn is_the_partners_will(self) -> bool {
        matches!(self, Self::NoStore | Self::Private | Self::Vary)
    }

    /// The fixed word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Vary => "vary",
            Self::Status => "status",
            Self::NoLifetime => "no-lifetime",
            Self::Partial => "partial",
            Self::TooLarge => "too-large",
            Self::Superseded => "superseded",
            Self::Purged => "purged",
            Self::Route => "route",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::MaxStale => "max-stale",
            Self::Clamped => "clamped",
        }
    }
}
