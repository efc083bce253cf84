// How does a cache do in the public suite of HTTP cache tests?
// Given the suite's folder as argument, is its origin server and its client; hands back one line of JSON per test on standard output.
// Never starts the cache: it says `origin PORT`, then waits on standard input for `BASE TOKEN` of the cache in front of that port.
//
// The suite's own programs are not used: its server listens at the root only, and its client cannot send a token.
// What it asks for and never loads here (all of npm, a template engine) is replaced by a small package in package.json.
import fs from 'node:fs'
import http from 'node:http'
import { createRequire, register } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const PREFIX = '/reseller/account/v1'
// All at once, since the tests mostly wait; but few requests at a time, since ages are told in whole seconds.
const CHUNK = 1000
const MOST_REQUESTS = 12

const queue = []
let underWay = 0

const suite = path.resolve(process.argv[2])
const only = new Set(process.argv.slice(3))
const engine = fs.existsSync(path.join(suite, 'test-engine')) ? path.join(suite, 'test-engine') : suite
const load = (folder, file) => import(pathToFileURL(path.join(folder, file)))

// A checkout has no packages of its own; the few that are loaded come from those beside this file's lock.
register(`data:text/javascript,${encodeURIComponent(`
  export const resolve = (name, context, next) => next(name, context).catch(error => {
    if (name !== 'undici') throw error
    return next(name, { ...context, parentURL: ${JSON.stringify(pathToFileURL(path.join(process.env.PACKAGES, 'package.json')))} })
  })
`)}`)

const suites = (await load(suite, 'tests/index.mjs')).default
const handlers = {
  config: (await load(engine, 'server/handle-config.mjs')).default,
  state: (await load(engine, 'server/handle-state.mjs').catch(() => ({ default: tellState }))).default,
  test: (await load(engine, 'server/handle-test.mjs')).default
}
const stash = (await load(engine, 'server/utils.mjs')).stash
const { runTests, getResults } = await load(engine, 'client/runner.mjs')

// The suite's chatter would stand between the results.
console.log = console.error

const origin = http.createServer((request, response) => {
  const [what, ...rest] = new URL(request.url, 'http://origin').pathname.slice(PREFIX.length + 1).split('/')
  const handler = request.url.startsWith(PREFIX) ? handlers[what] : undefined
  if (handler) return handler(rest, request, response)
  response.writeHead(404).end()
})
origin.listen(0, '127.0.0.1', () => tell(`origin ${origin.address().port}`))

const [base, token] = (await readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]().next()).value.split(' ')
// As each version's own program does: the older sends a header given twice as two lines, where the global fetch would join them.
const real = engine === suite ? createRequire(path.join(suite, 'package.json'))('node-fetch') : globalThis.fetch
const withToken = async (url, { cache, headers = [], ...init } = {}) => {
  await place()
  try {
    return await real(url, { ...init, headers: [...headers, ['X-Reseller-Api-Key', token]] })
  } finally {
    leave()
  }
}
// Some versions take the fetch they are given, some the global one.
globalThis.fetch = withToken

const wanted = suites.map(group => ({ ...group, tests: group.tests.filter(test => only.size === 0 || only.has(test.id)) }))
// Earlier versions are handed the fetch, as their second of five parameters.
const given = runTests.length > 3 ? [withToken] : []
await runTests(wanted, ...given, false, base + PREFIX, CHUNK)
const results = getResults()
for (const test of wanted.flatMap(group => group.tests)) {
  if (test.browser_only !== true) {
    const why = Array.isArray(results[test.id]) ? results[test.id].join(': ') : ''
    tell(JSON.stringify({ id: test.id, kind: test.kind ?? 'required', result: judge(test), why }))
  }
}
process.exit(0)

// As the suite's site shows it: a test counts only where all it depends on passed.
function judge (test) {
  const result = results[test.id]
  if (result === undefined) return 'untested'
  if (only.size === 0 && (test.depends_on ?? []).some(id => !['pass', 'yes'].includes(judge(find(id))))) return 'dependency'
  if (result[0] === 'Setup') return result[1] === 'retry' ? 'retry' : 'setup'
  if (test.kind === 'check') return result === true ? 'yes' : 'no'
  return result === true ? 'pass' : 'fail'
}

function find (id) {
  return suites.flatMap(group => group.tests).find(test => test.id === id) ?? { id }
}

function tellState ([uuid], request, response) {
  response.setHeader('Content-Type', 'text/plain')
  response.end(JSON.stringify(stash.get(uuid) ?? []))
}

function place () {
  if (underWay < MOST_REQUESTS) {
    underWay += 1
    return Promise.resolve()
  }
  return new Promise(resolve => queue.push(resolve))
}

function leave () {
  const next = queue.shift()
  if (next) return next()
  underWay -= 1
}

function tell (line) {
  process.stdout.write(`${line}\n`)
}
