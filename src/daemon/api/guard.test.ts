/** Who may call: scopes, other sites, wrong tokens, too many changes, and sessions of browsers. */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../../../test/support/cli.ts';
import { addToken, removeToken, Tokens } from '../tokens.ts';
import { ApiGuard, type Caller, type RequestFacts } from './guard.ts';
import { RateLimit } from './rate-limit.ts';
import { Sessions } from './sessions.ts';

const FIRST = 'first-token';
const HOUR_MS = 3_600_000;

function rig(t: TestContext, host: string) {
  const directory = temporaryDirectory(t);
  const reader = addToken(directory, 'reader', 'read');
  const operator = addToken(directory, 'operator', 'operate');
  const guard = new ApiGuard(host, new Tokens(directory, FIRST));
  const ask = (
    method: string,
    headers: RequestFacts['headers'],
    { now = 0, address = '192.0.2.9', needs }: Partial<RequestFacts> & { now?: number } = {},
  ): Caller | undefined => {
    const scope = needs ?? (method === 'GET' ? 'read' : 'operate');
    const all = { host: host === '127.0.0.1' ? 'localhost' : 'linkhold.example', ...headers };
    return guard.check({ method, needs: scope, address, headers: all }, now);
  };
  return { directory, guard, reader, operator, ask };
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

suite('the guard', () => {
  test('off loopback: read tokens read, operate tokens do both, and nobody else does either', (t) => {
    const { ask, reader, operator } = rig(t, '0.0.0.0');
    assert.deepEqual(ask('GET', bearer(reader)), { name: 'reader', scope: 'read' });
    assert.deepEqual(ask('POST', bearer(operator)), { name: 'operator', scope: 'operate' });
    assert.deepEqual(ask('POST', bearer(FIRST)), { name: 'first', scope: 'operate' });
    assert.throws(() => ask('POST', bearer(reader)), { status: 403, message: /"reader" may only/ });
    for (const headers of [{}, bearer('wrong'), bearer(''), { authorization: 'Basic eA==' }]) {
      assert.throws(() => ask('GET', headers), { status: 401 });
      assert.throws(() => ask('POST', headers), { status: 401 });
      assert.equal(ask('GET', headers, { needs: 'nothing' }), undefined);
    }
  });

  test('on loopback everybody reads, and a token with the scope "read" may not write', (t) => {
    const { ask, reader } = rig(t, '127.0.0.1');
    assert.deepEqual(ask('GET', {}), { name: null, scope: 'read' });
    assert.deepEqual(ask('GET', bearer('wrong')), { name: null, scope: 'read' });
    assert.throws(() => ask('POST', {}), { status: 401 });
    assert.throws(() => ask('POST', bearer(reader)), { status: 403 });
  });

  for (const [headers, crossSite] of [
    [{}, false],
    [{ 'sec-fetch-site': 'same-origin' }, false],
    [{ 'sec-fetch-site': 'none' }, false],
    [{ 'sec-fetch-site': 'cross-site' }, true],
    [{ 'sec-fetch-site': 'same-site' }, true],
    [{ 'sec-fetch-site': 'cross-site', origin: 'http://localhost' }, true],
    // A proxy may change Host; the browser's own word counts.
    [{ 'sec-fetch-site': 'same-origin', origin: 'https://proxy.example' }, false],
    [{ origin: 'http://localhost' }, false],
    [{ origin: 'http://localhost:81' }, true],
    [{ origin: 'https://evil.example' }, true],
    [{ origin: 'null' }, true],
    [{ origin: '' }, true],
  ] as const) {
    const what = crossSite ? 'refused with the right token' : 'let through';
    test(`a write with ${JSON.stringify(headers)} is ${what}`, (t) => {
      const { ask } = rig(t, '127.0.0.1');
      const write = () => ask('POST', { ...headers, ...bearer(FIRST) });
      if (crossSite) assert.throws(write, { status: 403, message: /another site/ });
      else assert.equal(write()?.scope, 'operate');
      assert.equal(ask('GET', headers)?.scope, 'read');
    });
  }

  test('after 20 wrong tokens an address waits, also with the right one; others do not', (t) => {
    const { ask, operator } = rig(t, '0.0.0.0');
    for (let index = 0; index < 20; index += 1) {
      assert.throws(() => ask('GET', bearer(`wrong ${index}`.replace(' ', ''))), { status: 401 });
    }
    assert.throws(() => ask('GET', bearer(operator)), { status: 429 });
    assert.equal(ask('GET', bearer(operator), { address: '192.0.2.8' })?.name, 'operator');
    assert.equal(ask('GET', bearer(operator), { now: 1_000 })?.name, 'operator');
  });

  test('on loopback wrong tokens of one program lock nobody out', (t) => {
    const { ask } = rig(t, '127.0.0.1');
    for (let index = 0; index < 100; index += 1) {
      assert.throws(() => ask('POST', bearer('wrong'), { address: '127.0.0.1' }), { status: 401 });
    }
    assert.equal(ask('POST', bearer(FIRST), { address: '127.0.0.1' })?.scope, 'operate');
  });

  test('201 changes at once are one too many for a token, and 20 ms later there is one more', (t) => {
    const { ask, operator } = rig(t, '127.0.0.1');
    for (let index = 0; index < 200; index += 1) ask('POST', bearer(FIRST));
    assert.throws(() => ask('POST', bearer(FIRST)), { status: 429, retryAfterS: 1 });
    assert.equal(ask('POST', bearer(operator))?.name, 'operator');
    assert.equal(ask('POST', bearer(FIRST), { now: 20 })?.name, 'first');
    assert.throws(() => ask('POST', bearer(FIRST), { now: 20 }), { status: 429 });
  });

  test('a session does what its token may, until it expires or the token is removed', (t) => {
    const { ask, guard, directory } = rig(t, '0.0.0.0');
    const { cookie } = guard.sessions.open('reader', 0);
    const [pair = ''] = cookie.split(';');
    const headers = { cookie: `other=1; ${pair}; more=2` };
    const expiresAt = 12 * HOUR_MS;
    assert.deepEqual(ask('GET', headers), { name: 'reader', scope: 'read', expiresAt });
    assert.throws(() => ask('POST', headers), { status: 403 });
    assert.throws(() => ask('GET', headers, { now: expiresAt }), { status: 401 });
    const again = { cookie: guard.sessions.open('reader', 0).cookie };
    assert.equal(ask('GET', again)?.name, 'reader');
    removeToken(directory, 'reader');
    assert.throws(() => ask('GET', again), { status: 401 });
  });
});

suite('sessions', () => {
  test('a cookie is 256 random bits that scripts and other sites cannot use', () => {
    const cookie = new Sessions(false).open('x', 0).cookie;
    assert.match(cookie, /^linkhold=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=43200$/);
    const secure = new Sessions(true).open('x', 0).cookie;
    assert.match(secure, /^__Host-linkhold=[\w-]{43}; Path=\/; .*; Secure$/);
  });

  test('an ended one is no session any more, nor is a made up one, nor the oldest of 1,001', () => {
    const sessions = new Sessions(false);
    const { cookie } = sessions.open('x', 0);
    assert.equal(sessions.find(cookie, 1)?.token, 'x');
    assert.match(sessions.close(cookie), /^linkhold=; .*Max-Age=0/);
    assert.equal(sessions.find(cookie, 1), undefined);
    for (const header of [undefined, '', 'linkhold=', 'linkhold=x', `${cookie}x`, '=;=;;']) {
      assert.equal(sessions.find(header, 1), undefined);
    }
    const first = sessions.open('first', 0).cookie;
    for (let index = 0; index < 1_000; index += 1) sessions.open('x', 0);
    assert.equal(sessions.find(first, 1), undefined);
  });
});

suite('the rate limit', () => {
  test('20,000 callers are remembered 10,000 at a time', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1 });
    for (let index = 0; index < 20_000; index += 1) limit.take(`caller ${index}`, 0);
    assert.equal(limit.size, 10_000);
    assert(!limit.take('caller 19999', 0));
    assert(limit.take('caller 0', 0));
  });
});
