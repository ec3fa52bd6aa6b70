/** The status page: chosen links, and nothing else; text is never markup. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { apiRig, BEARER, linksCalled, problemIn } from '../../../test/support/api-rig.ts';
import type { Config } from '../config-schema.ts';

const OFF_LOOPBACK = { host: '0.0.0.0' } as const;

function configured(entry: Config['statusPage']): Partial<Config> {
  const { links = {} } = linksCalled('secret-a', 'shown-b', 'shown-c');
  const { 'shown-c': c = { url: '' }, ...others } = links;
  return { links: { ...others, 'shown-c': { ...c, tags: ['public'] } }, statusPage: entry };
}

suite('the status page', { timeout: 20_000 }, () => {
  test('is open to strangers off loopback when public, and shows chosen names and states alone', async (t) => {
    const config = configured({ title: 'Our <net>', links: ['public', 'shown-b'], public: true });
    const { ask, log } = await apiRig(t, { ...OFF_LOOPBACK, config });
    const at = new Date(Date.now() - 60_000).toISOString();
    const event = { type: 'state', at, reason: 'refused', detectsWithinMs: 1 } as const;
    const evidence = { errno: 'EVIDENCE' };
    for (const link of ['secret-a', 'shown-b']) {
      log.append({ ...event, link, from: 'up', to: 'down', evidence });
      log.append({
        ...event,
        at: new Date(Date.parse(at) + 30_000).toISOString(),
        link,
        from: 'down',
        to: 'up',
        evidence,
      });
    }
    const { statusCode, headers, body } = await ask('/status');
    assert.equal(statusCode, 200);
    assert.match(
      String(headers['content-security-policy']),
      /^default-src 'none'; style-src 'sha256-/,
    );
    assert.equal(headers['refresh'], '30');
    assert.match(body, /<h1>Our &lt;net&gt;<\/h1>/);
    assert.match(body, /shown-b/);
    assert.match(body, /shown-c/);
    assert.match(body, /<strong>shown-b<\/strong> was down for 30s/);
    assert.equal(body.match(/<svg class="bar"/g)?.length, 2);
    assert.doesNotMatch(body, /secret-a|127\.0\.0\.1|tcp:|EVIDENCE|refused|<script/);
    problemIn(await ask('/api/v1/links'), 401);
  });

  test('a badge is of a chosen link; of others there is none, whether they exist or not', async (t) => {
    const config = configured({ links: ['shown-b'], public: true });
    const { ask } = await apiRig(t, { ...OFF_LOOPBACK, config });
    const { headers, body } = await ask('/status/badge/shown-b.svg');
    assert.equal(headers['content-type'], 'image/svg+xml');
    assert.match(body, /aria-label="shown-b: not known"/);
    const secret = problemIn(await ask('/status/badge/secret-a.svg'), 404);
    assert.equal(problemIn(await ask('/status/badge/nobody.svg'), 404), secret);
    problemIn(await ask('/status/badge/shown-b'), 404);
  });

  test('not public, it needs what reading needs; without a section there is none', async (t) => {
    const config = configured({ links: ['shown-b'] });
    const { ask } = await apiRig(t, { ...OFF_LOOPBACK, config });
    problemIn(await ask('/status'), 401);
    problemIn(await ask('/status/badge/shown-b.svg'), 401);
    assert.equal((await ask('/status', { headers: BEARER })).statusCode, 200);
    const none = await apiRig(t, { config: linksCalled('a') });
    assert.match(problemIn(await none.ask('/status'), 404), /statusPage/);
  });

  test('names, titles and tags with markup are text', async (t) => {
    const evil = `<img src=x onerror="alert(1)">&'`;
    const { links = {} } = linksCalled(evil);
    const config = { links, statusPage: { title: evil, links: [evil], public: true } };
    const { ask } = await apiRig(t, { config });
    const { body } = await ask('/status');
    assert.doesNotMatch(body, /<img/);
    assert(body.includes('&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&#39;'));
    const badge = await ask(`/status/badge/${encodeURIComponent(evil)}.svg`);
    assert.doesNotMatch(badge.body, /<img/);
  });
});
