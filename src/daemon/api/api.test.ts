/** What the API answers: rows, pages, refusals, and what is changed through it. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { apiRig, BEARER, linksCalled, problemIn, TOKEN } from '../../../test/support/api-rig.ts';
import { UsageError } from '../../time/usage-error.ts';

const at = '2026-11-22T12:00:00.000Z';

suite('reading the API', { timeout: 20_000 }, () => {
  test('links: every row has the keys of the contract', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a', 'b') });
    const response = await ask('/api/v1/links');
    assert.equal(response.statusCode, 200);
    assert.match(String(response.headers['content-type']), /^application\/json\b/);
    const { items, next } = response.json();
    assert.equal(next, null);
    assert.deepEqual(
      items.map((row: { name: string }) => row.name),
      ['a', 'b'],
    );
    for (const key of [
      ...['url', 'kind', 'class', 'state', 'reason', 'rttMs', 'detectsWithinMs'],
      ...['largestSilenceMs', 'evidence', 'local', 'remote'],
    ]) {
      assert(Object.hasOwn(items[0], key), `no ${key} in ${JSON.stringify(items[0])}`);
    }
  });

  test('pages of 2 give all 5 links once, in order, and end with null', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a', 'b', 'c', 'd', 'e') });
    const seen: string[] = [];
    let pages = 0;
    for (let cursor: number | null = 0; cursor !== null; pages += 1) {
      const url: string = `/api/v1/links?limit=2&cursor=${cursor}`;
      const page: { items: { name: string }[]; next: number | null } = (await ask(url)).json();
      const { items, next } = page;
      assert(items.length <= 2 && pages < 5);
      seen.push(...items.map((row) => row.name));
      cursor = next;
    }
    assert.deepEqual(seen, ['a', 'b', 'c', 'd', 'e']);
    assert.equal(pages, 3);
    const { items, next } = (await ask('/api/v1/links?cursor=99')).json();
    assert.deepEqual({ items, next }, { items: [], next: null });
    assert.equal((await ask('/api/v1/links?limit=5')).json().next, null);
  });

  test('one link by its name, and a problem for one that is not there', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a') });
    assert.equal((await ask('/api/v1/links/a')).json().name, 'a');
    assert.equal(problemIn(await ask('/api/v1/links/b'), 404), 'there is no link "b"');
    problemIn(await ask(`/api/v1/links/${'x'.repeat(64)}`), 404);
    problemIn(await ask(`/api/v1/links/${'x'.repeat(4_000)}`), 404);
    problemIn(await ask(`/api/v1/links/${'x'.repeat(5_000)}`), 414);
    problemIn(await ask('/api/v1/links/__proto__'), 404);
  });

  test('groups and relays are lists too', async (t) => {
    const config = {
      ...linksCalled('a', 'b'),
      groups: { g: { paths: [{ link: 'a' }, { link: 'b' }] } },
    };
    const { ask } = await apiRig(t, { config });
    const groups = (await ask('/api/v1/groups')).json();
    assert.equal(groups.next, null);
    assert.equal(groups.items[0].name, 'g');
    assert.equal(groups.items[0].active, 'a');
    assert.deepEqual(
      groups.items[0].paths.map((path: { link: string }) => path.link),
      ['a', 'b'],
    );
    assert.deepEqual((await ask('/api/v1/relays')).json(), { items: [], next: null });
  });

  test('events: since, before, link, limit and next', async (t) => {
    const { ask, log } = await apiRig(t);
    for (const group of ['x', 'y', 'x', 'y', 'x'])
      log.append({ at, type: 'note', text: '', group });
    const ids = async (query: string) => {
      const { items, next } = (await ask(`/api/v1/events?${query}`)).json();
      return [items.map((event: { id: number }) => event.id), next];
    };
    assert.deepEqual(await ids(''), [[1, 2, 3, 4, 5], null]);
    assert.deepEqual(await ids('limit=2'), [[4, 5], null]);
    assert.deepEqual(await ids('since=1&limit=2'), [[2, 3], 3]);
    assert.deepEqual(await ids('since=3&limit=2'), [[4, 5], null]);
    assert.deepEqual(await ids('link=x'), [[1, 3, 5], null]);
    assert.deepEqual(await ids(`before=${Number.MAX_SAFE_INTEGER}&limit=2`), [[4, 5], 4]);
    assert.deepEqual(await ids('before=4&limit=2'), [[2, 3], 2]);
    assert.deepEqual(await ids('before=2&limit=2'), [[1], null]);
    assert.deepEqual(await ids('before=5&limit=2&link=x'), [[1, 3], null]);
    assert.match(problemIn(await ask('/api/v1/events?since=1&before=3'), 400), /not both$/);
    assert.match(
      problemIn(await ask('/api/v1/events?link=x&link=y'), 400),
      /^link: write it once$/,
    );
  });

  test('links by state, tag and words; a page of what fits, and what nothing fits is empty', async (t) => {
    const { links = {} } = linksCalled('db-a', 'db-b', 'web');
    const tagged = Object.fromEntries(
      Object.entries(links).map(([name, link]) => [
        name,
        { ...link, tags: name === 'web' ? ['eu'] : ['eu', 'Storage'] },
      ]),
    );
    const { ask, supervisor } = await apiRig(t, { config: { links: tagged } });
    supervisor.link('web')?.drain();
    const names = async (query: string) => {
      const { items, next } = (await ask(`/api/v1/links?${query}`)).json();
      return [items.map((row: { name: string }) => row.name).join(' '), next];
    };
    assert.deepEqual(await names('state=drained'), ['web', null]);
    assert.deepEqual(await names('tag=eu&limit=2'), ['db-a db-b', 2]);
    assert.deepEqual(await names('tag=eu&limit=2&cursor=2'), ['web', null]);
    assert.deepEqual(await names('tag=storage'), ['', null]);
    assert.deepEqual(await names('q=STORAGE'), ['db-a db-b', null]);
    assert.deepEqual(await names('q=b-b'), ['db-b', null]);
    assert.deepEqual(await names('q=127.0.0.1'), ['db-a db-b web', null]);
    assert.deepEqual(await names('q=b-b&state=drained'), ['', null]);
    assert.match(problemIn(await ask('/api/v1/links?state=dead'), 400), /^state: write one of/);
    assert.match(problemIn(await ask(`/api/v1/links?q=${'x'.repeat(257)}`), 400), /256/);
    const known = 'write cursor, limit, q, state, tag, sort';
    assert.equal(
      problemIn(await ask('/api/v1/links?stat=up'), 400),
      `no parameter "stat": ${known}`,
    );
    assert.match(problemIn(await ask('/api/v1/summary?x='), 400), /there are none here$/);
  });

  test('links, the worst state first where asked; counts are of what fits in any state', async (t) => {
    const { ask, supervisor } = await apiRig(t, { config: linksCalled('a1', 'a2', 'a3', 'b') });
    supervisor.link('a1')?.drain();
    const { items, counts } = (await ask('/api/v1/links?q=a&sort=worst&state=unknown')).json();
    assert.deepEqual(
      items.map((row: { name: string }) => row.name),
      ['a2', 'a3'],
    );
    assert.deepEqual(counts, { unknown: 2, up: 0, suspect: 0, down: 0, drained: 1 });
    const all = (await ask('/api/v1/links?sort=worst')).json().items;
    assert.equal(all.map((row: { name: string }) => row.name).join(' '), 'a2 a3 b a1');
  });

  test('the summary counts links by state, names groups with their path in use, and tells troubles', async (t) => {
    const config = {
      ...linksCalled('a', 'b', 'c'),
      groups: { g: { paths: [{ link: 'a' }, { link: 'b' }] } },
    };
    const { ask, supervisor, log } = await apiRig(t, {
      config,
      troubles: () => ['the disk is full'],
    });
    supervisor.link('c')?.drain();
    const summary = (await ask('/api/v1/summary')).json();
    const { total, drained } = summary.links;
    assert.deepEqual({ total, drained }, { total: 3, drained: 1 });
    assert.deepEqual(summary.groups, [{ name: 'g', active: 'a', up: false }]);
    assert.deepEqual(summary.totals, { groups: 1, relays: 0, routes: 0 });
    assert.equal(summary.lastEventId, log.query({ limit: 1 }).items[0]?.id);
    assert.equal(summary.status, 'degraded');
    assert.deepEqual(summary.troubles, ['the disk is full']);
    const health = await ask('/healthz');
    assert.equal(health.statusCode, 200);
    assert.deepEqual(health.json().troubles, ['the disk is full']);
  });

  test('a mistake of ours is a 500 that tells the caller nothing of it, and the log what it was', async (t) => {
    const { ask, supervisor, log } = await apiRig(t);
    t.mock.method(supervisor, 'routeStatuses', () => {
      throw new Error('secret detail');
    });
    const detail = problemIn(await ask('/api/v1/routes'), 500);
    assert.equal(detail, 'a mistake of the daemon; its log has more');
    const [note] = log.query({ limit: 1 }).items;
    assert.match(JSON.stringify(note), /GET \/api\/v1\/routes failed: secret detail/);
  });

  test('one group by its name', async (t) => {
    const config = { ...linksCalled('a'), groups: { g: { paths: [{ link: 'a' }] } } };
    const { ask } = await apiRig(t, { config });
    assert.equal((await ask('/api/v1/groups/g')).json().active, 'a');
    assert.equal(problemIn(await ask('/api/v1/groups/h'), 404), 'there is no group "h"');
  });

  test('every answer forbids guessing its type, framing it, and reading it from another site', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a') });
    for (const url of ['/', '/healthz', '/metrics', '/api/v1/links', '/nothing', '/%']) {
      const { headers } = await ask(url);
      if (url === '/%') continue;
      assert.equal(headers['x-content-type-options'], 'nosniff', url);
      assert.equal(headers['cross-origin-resource-policy'], 'same-origin', url);
      assert.equal(headers['access-control-allow-origin'], undefined, url);
    }
    const metrics = await ask('/metrics');
    assert.equal(metrics.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
    assert.match(metrics.body, /^linkhold_links\{kind="tcp",state="up"\} 0$/m);
  });

  for (const query of [
    ...['limit=0', 'limit=10001', 'limit=-1', 'limit=1.5', 'limit=', 'limit=ten', 'limit=1e3'],
    ...['limit=1&limit=2', 'cursor=-1', 'cursor=0x10', 'cursor=99999999999999999999'],
  ]) {
    test(`links?${query} is a 400 that says which numbers may be written`, async (t) => {
      const { ask } = await apiRig(t);
      const detail = problemIn(await ask(`/api/v1/links?${query}`), 400);
      assert.match(detail, /^(limit|cursor): write a whole number from \d+ to \d+$/);
    });
  }

  test('events?since=x is a 400 too', async (t) => {
    const { ask } = await apiRig(t);
    assert.match(
      problemIn(await ask('/api/v1/events?since=x'), 400),
      /^since: write a whole number/,
    );
  });

  test('healthz tells of the daemon itself', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a') });
    const health = (await ask('/healthz')).json();
    assert.deepEqual(
      { ...health, uptimeMs: typeof health.uptimeMs },
      {
        status: 'ok',
        troubles: [],
        version: '1.2.3',
        pid: process.pid,
        uptimeMs: 'number',
        links: 1,
      },
    );
  });

  test('what is not there is a 404, and so is the wrong method', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a') });
    const detail = problemIn(await ask('/api/v1/nothing'), 404);
    assert.equal(detail, 'there is no GET /api/v1/nothing');
    problemIn(await ask('/api/v2/links'), 404);
    problemIn(await ask('/api/v1/links', { method: 'DELETE', headers: BEARER }), 404);
    problemIn(await ask('/api/v1/links/a/explode', { method: 'POST', headers: BEARER }), 404);
  });

  for (const url of ['/api/v1/links/%zz', '/%', '/api/v1/links/%ff/drain']) {
    test(`${url} cannot be decoded: a 400 problem`, async (t) => {
      const { ask } = await apiRig(t);
      problemIn(await ask(url), 400);
    });
  }
});

suite('changing things through the API', { timeout: 20_000 }, () => {
  test('drain, resume and probe answer with the link as it is then', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a') });
    const post = { method: 'POST', headers: BEARER } as const;
    assert.equal((await ask('/api/v1/links/a/drain', post)).json().state, 'drained');
    assert.equal((await ask('/api/v1/links/a/drain', post)).json().state, 'drained');
    assert.notEqual((await ask('/api/v1/links/a/resume', post)).json().state, 'drained');
    assert.equal((await ask('/api/v1/links/a/probe', post)).statusCode, 200);
    problemIn(await ask('/api/v1/links/b/drain', post), 404);
  });

  test('every write needs the token, and without it nothing is changed', async (t) => {
    let reloads = 0;
    const reload = async () => {
      reloads += 1;
    };
    const { ask, supervisor } = await apiRig(t, { config: linksCalled('a'), reload });
    for (const url of [
      ...['/api/v1/links/a/drain', '/api/v1/links/a/resume', '/api/v1/links/a/probe'],
      ...['/api/v1/links/nobody/drain', '/api/v1/reload', '/nothing'],
    ]) {
      for (const authorization of [
        ...[undefined, '', 'Bearer', 'Bearer ', 'Bearer wrong', `Basic ${TOKEN}`, TOKEN],
        ...[`Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(1)}`, `bearer${TOKEN}`],
      ]) {
        const headers = authorization === undefined ? {} : { authorization };
        const detail = problemIn(await ask(url, { method: 'POST', headers }), 401);
        assert.match(detail, /send "Authorization: Bearer TOKEN"/);
        assert(!detail.includes(TOKEN));
      }
    }
    assert.equal(reloads, 0);
    assert.notEqual(supervisor.link('a')?.state, 'drained');
  });

  test('reload says what became of it: 200, or 400 with the line of the file', async (t) => {
    const refuse = 'f:1:1: no key "x" is known here';
    let bad = false;
    const { ask } = await apiRig(t, {
      reload: async () => {
        if (bad) throw new UsageError('bad-config', refuse);
      },
    });
    const post = { method: 'POST', headers: BEARER } as const;
    assert.deepEqual((await ask('/api/v1/reload', post)).json(), { reloaded: true });
    bad = true;
    assert.equal(problemIn(await ask('/api/v1/reload', post), 400), refuse);
  });

  test('a body of any kind up to 16 KiB is ignored, a larger one is a 413', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a') });
    const post = (payload: string, headers: Record<string, string> = {}) =>
      ask('/api/v1/links/a/probe', { method: 'POST', payload, headers: { ...BEARER, ...headers } });
    for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
      assert.equal((await post('{"not json', { 'content-type': type })).statusCode, 200);
    }
    assert.equal((await post('x')).statusCode, 200);
    const large = { 'content-type': 'text/plain' };
    problemIn(await post('x'.repeat(16 * 1_024 + 1), large), 413);
    const stranger = { method: 'POST', payload: 'x'.repeat(100_000), headers: large } as const;
    problemIn(await ask('/api/v1/links/a/probe', stranger), 401);
  });
});

suite('who may read', { timeout: 20_000 }, () => {
  for (const host of ['127.0.0.1', '127.0.0.1:7117', 'localhost', 'localhost:80', '[::1]:7117']) {
    test(`on loopback: ${host} without a token`, async (t) => {
      const { ask } = await apiRig(t);
      assert.equal((await ask('/api/v1/links', { headers: { host } })).statusCode, 200);
    });
  }

  for (const host of [
    ...['evil.example', 'evil.example:7117', '127.0.0.1.evil.example', 'localhost.evil.example'],
    ...['192.0.2.2:7117', '[fd00::2]:7117', '0.0.0.0'],
  ]) {
    test(`on loopback: not under the name "${host}", with or without the token`, async (t) => {
      const { ask } = await apiRig(t);
      for (const url of ['/api/v1/links', '/', '/healthz', '/nothing']) {
        const detail = problemIn(await ask(url, { headers: { host } }), 403);
        assert.match(detail, /for this machine only/);
        problemIn(await ask(url, { headers: { host, ...BEARER } }), 403);
      }
    });
  }

  test('off loopback: everything but healthz and the empty dashboard needs the token, under any name', async (t) => {
    const { ask } = await apiRig(t, { host: '0.0.0.0', config: linksCalled('a') });
    const headers = { host: 'linkhold.example:7117' };
    assert.equal((await ask('/healthz', { headers })).statusCode, 200);
    for (const url of ['/', '/groups', '/links/a', '/machine']) {
      assert.equal((await ask(url, { headers })).statusCode, 200, url);
    }
    for (const url of ['/api/v1/links', '/api/v1/stream', '/healthz/', '/nothing', '/status']) {
      problemIn(await ask(url, { headers }), 401);
      if (url.endsWith('stream')) continue;
      const status = (await ask(url, { headers: { ...headers, ...BEARER } })).statusCode;
      assert([200, 404].includes(status), `${url}: ${status}`);
    }
  });
});

suite('a session', { timeout: 20_000 }, () => {
  test('is opened with a token, carried by a cookie, and over when it is ended', async (t) => {
    const { ask } = await apiRig(t, { host: '0.0.0.0', config: linksCalled('a') });
    const post = { method: 'POST' } as const;
    problemIn(await ask('/api/v1/session', post), 401);
    problemIn(await ask(`/api/v1/session?token=${TOKEN}`, post), 401);
    const opened = await ask('/api/v1/session', { ...post, headers: BEARER });
    const { name, scope, expiresAt } = opened.json();
    assert.deepEqual({ name, scope }, { name: 'first', scope: 'operate' });
    assert(Date.parse(expiresAt) > Date.now());
    const [cookie = ''] = String(opened.headers['set-cookie']).split(';');
    const headers = { cookie };
    assert.equal((await ask('/api/v1/links', { headers })).statusCode, 200);
    assert.equal((await ask('/api/v1/session', { headers })).json().name, 'first');
    assert.equal((await ask('/api/v1/links/a/drain', { ...post, headers })).statusCode, 200);
    const evil = { ...headers, origin: 'https://evil.example' };
    problemIn(await ask('/api/v1/links/a/resume', { ...post, headers: evil }), 403);
    const ended = await ask('/api/v1/session', { method: 'DELETE', headers });
    assert.match(String(ended.headers['set-cookie']), /Max-Age=0/);
    problemIn(await ask('/api/v1/links', { headers }), 401);
  });

  test('a refusal says how to prove oneself, and healthz tells strangers the status alone', async (t) => {
    const { ask } = await apiRig(t, { host: '0.0.0.0', troubles: () => ['/secret/file'] });
    const refused = await ask('/api/v1/links');
    problemIn(refused, 401);
    assert.equal(refused.headers['www-authenticate'], 'Bearer realm="linkhold"');
    assert.deepEqual((await ask('/healthz')).json(), { status: 'degraded' });
    const known = (await ask('/healthz', { headers: BEARER })).json();
    assert.deepEqual(known.troubles, ['/secret/file']);
  });
});

suite('fuzzing the API', { timeout: 30_000 }, () => {
  test('no path, query, method or header is ever a 5xx, and every refusal is a problem (1,000)', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a', 'b') });
    const piece = fc.oneof(
      fc.string({ maxLength: 6 }).map(encodeURIComponent),
      fc.string({ maxLength: 6 }).map((text) => text.replaceAll(/[^!-~]/g, '~')),
      fc.constantFrom(
        ...['/', '//', '.', '..', '%', '%00', '%2f', '%zz', '%ff', '?', '&', '=', '[]', '#', '*'],
        ...['api', 'v1', 'links', 'groups', 'relays', 'events', 'a', 'drain', 'healthz'],
        ...['limit=', 'cursor=', 'since=', 'link=', '1', '-1', '__proto__', 'constructor', '1e9'],
      ),
    );
    const base = fc.constantFrom(
      '/',
      '/api/v1/',
      '/api/v1/links/',
      '/api/v1/links?',
      '/api/v1/events?',
    );
    const method = fc.constantFrom(
      'GET',
      'GET',
      'GET',
      'HEAD',
      'POST',
      'PUT',
      'DELETE',
      'OPTIONS',
      'PATCH',
    );
    await fc.assert(
      fc.asyncProperty(
        base,
        fc.array(piece, { maxLength: 8 }),
        method,
        fc.boolean(),
        async (start, pieces, verb, token) => {
          const url = start + pieces.join('');
          // The stream never ends, and what is no URL never leaves the client.
          if (/stream/.test(url) || !URL.canParse(url, 'http://localhost')) return;
          const headers = token ? BEARER : {};
          const response = await ask(url, { method: verb as 'GET', headers });
          if (response.statusCode === 200) return;
          assert(response.statusCode >= 400 && response.statusCode < 500, `${verb} ${url}`);
          if (verb !== 'HEAD') problemIn(response, response.statusCode);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
