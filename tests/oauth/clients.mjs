// Do standard clients work unmodified?
// Given a running gateway's issuer, a caller with its secret and a foreign token, runs every exchange that the clients know.
// Never looks the other way: whatever they throw ends the process with it.

import assert from 'node:assert/strict'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'

const { ISSUER, CALLER, SECRET, SUBJECT_TOKEN, FOREIGN_CALLER } = process.env
const issuer = new URL(ISSUER)
// The gateway stands on loopback here; everywhere else the clients insist on https.
const insecure = { [oauth.allowInsecureRequests]: true }
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'

const discovered = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
const as = await oauth.processDiscoveryResponse(issuer, discovered)
const client = { client_id: CALLER }

async function granted(proof, parameters = {}) {
  const response = await oauth.clientCredentialsGrantRequest(as, client, proof, parameters, insecure)
  return oauth.processClientCredentialsResponse(as, client, response)
}

async function verified(token) {
  const keys = createRemoteJWKSet(new URL(as.jwks_uri))
  const jose = await jwtVerify(token, keys, {
    issuer: as.issuer,
    audience: 'account-api',
    typ: 'at+jwt',
    algorithms: ['EdDSA'],
    requiredClaims: ['sub', 'exp', 'iat', 'jti', 'client_id', 'scope'],
  })
  const request = new Request(new URL('/-/me', issuer), { headers: { authorization: `Bearer ${token}` } })
  const claims = await oauth.validateJwtAccessToken(as, request, 'account-api', insecure)
  assert.equal(claims.jti, jose.payload.jti)
  return claims
}

async function introspected(proof, token, who = client) {
  const response = await oauth.introspectionRequest(as, who, proof, token, insecure)
  return oauth.processIntrospectionResponse(as, who, response)
}

async function exchanged(who, proof, parameters) {
  const response = await oauth.genericTokenEndpointRequest(as, who, proof, EXCHANGE, parameters, insecure)
  return oauth.processGenericTokenEndpointResponse(as, who, response)
}

async function refused(work, error) {
  await assert.rejects(work, (thrown) => {
    // A 401 is told by its challenge, everything else by its body.
    if (thrown instanceof oauth.WWWAuthenticateChallengeError) {
      assert.deepEqual([thrown.status, error], [401, 'invalid_client'])
      assert.equal(thrown.cause[0].scheme, 'basic')
      return true
    }
    assert.ok(thrown instanceof oauth.ResponseBodyError, `${thrown}`)
    assert.equal(thrown.error, error)
    return true
  })
}

const basic = oauth.ClientSecretBasic(SECRET)
for (const proof of [basic, oauth.ClientSecretPost(SECRET)]) {
  const token = await granted(proof, { scope: 'clients:read pii:read' })
  assert.equal(token.token_type, 'bearer')
  assert.equal(token.scope, 'clients:read pii:read')
  const claims = await verified(token.access_token)
  assert.deepEqual([claims.client_id, claims.sub], [CALLER, CALLER])

  const seen = await introspected(proof, token.access_token)
  assert.deepEqual([seen.active, seen.client_id, seen.scope], [true, CALLER, 'clients:read pii:read'])
  assert.equal(seen.exp, claims.exp)

  const narrow = await exchanged(client, proof, {
    subject_token: token.access_token,
    subject_token_type: ACCESS_TOKEN,
    scope: 'clients:read',
  })
  assert.deepEqual([narrow.scope, narrow.issued_token_type], ['clients:read', ACCESS_TOKEN])
  await verified(narrow.access_token)

  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, proof, token.access_token, insecure))
  assert.deepEqual(await introspected(proof, token.access_token), { active: false })
  assert.deepEqual(await introspected(proof, narrow.access_token), { active: false })
}

const foreign = { client_id: FOREIGN_CALLER }
const theirs = await exchanged(foreign, oauth.None(), {
  subject_token: SUBJECT_TOKEN,
  subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
})
assert.equal((await verified(theirs.access_token)).client_id, FOREIGN_CALLER)
assert.deepEqual(await introspected(basic, theirs.access_token), { active: false }, "another caller's")

await refused(granted(oauth.ClientSecretPost('wrong')), 'invalid_client')
await refused(granted(basic, { scope: 'nothing:read' }), 'invalid_scope')
await refused(exchanged(foreign, oauth.None(), { subject_token: 'x', subject_token_type: ACCESS_TOKEN }), 'invalid_request')
console.log('all well')
