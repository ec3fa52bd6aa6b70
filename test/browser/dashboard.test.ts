/** The dashboard in a real browser: its pages, its news, its keys, and that everybody can use it. */
import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import type { Config } from '../../src/daemon/config-schema.ts';
import { emptyStats } from '../../src/daemon/store/link-stats.ts';
import { buildWeb } from '../../web/build.ts';
import { type ApiRig, apiRig, linksCalled, TOKEN } from '../support/api-rig.ts';
import {
  barriersIn,
  browserMissing,
  openBrowser,
  openPage,
  overflowOf,
} from '../support/browser.ts';
import { freePort } from '../support/free-port.ts';

const BOUND_MS = 10_000;
/** An event is shown within this. */
const NEWS_MS = 1_000;
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1_280, height: 900 };

interface Served extends ApiRig {
  readonly url: string;
}

async function served(t: TestContext, config: Partial<Config>): Promise<Served> {
  const rig = await apiRig(t, { config });
  const url = await rig.app.listen({ host: '127.0.0.1', port: 0 });
  return { ...rig, url };
}

const NOTHING: Config = { links: {}, groups: {}, relays: {}, routes: {}, respond: [], protect: [] };

/** Two paths to one place; `alive` says whose responder runs. */
async function twoPaths(): Promise<(...alive: readonly ('a' | 'b')[]) => Config> {
  const [a, b] = [await freePort(), await freePort()];
  const timing = { time: '300ms', interval: '100ms', probes: 3 };
  return (...alive) => ({
    ...NOTHING,
    links: {
      a: { url: `beat://127.0.0.1:${a}?key=k`, ...timing, tags: ['uplink'] },
      b: { url: `beat://127.0.0.1:${b}?key=k`, ...timing },
    },
    groups: {
      db: { paths: [{ link: 'a' }, { link: 'b', tier: 2 }], rise: 1, failbackAfter: '3s' },
    },
    respond: alive.map((name) => ({ listen: `127.0.0.1:${name === 'a' ? a : b}`, key: 'k' })),
    statusPage: { title: 'Example', links: ['a', 'b'], public: true },
  });
}

async function sees(page: Page, text: string | RegExp, boundMs = BOUND_MS): Promise<void> {
  await page.getByText(text).first().waitFor({ timeout: boundMs });
}

/** The text of the page, with plain spaces. */
async function textOf(page: Page, selector = 'main'): Promise<string> {
  return (await page.locator(selector).innerText()).replaceAll(/\s+/g, ' ');
}

suite('the dashboard', { timeout: 120_000, skip: browserMissing }, () => {
  let browser: Browser;

  before(async () => {
    await buildWeb();
    browser = await openBrowser();
  });
  after(async () => await browser.close());

  test('tells the story of a path that dies and comes back, without a reload', async (t) => {
    const config = await twoPaths();
    const rig = await served(t, config('a', 'b'));
    const { page } = await openPage(t, browser, rig.url, { viewport: DESK });
    await sees(page, 'Every link that is watched is up');
    await sees(page, /the preferred path/);
    await rig.supervisor.apply(config('b'));
    await sees(page, '1 of 2 links is dead');
    await page.locator('.group', { hasText: /Traffic goes by b since/ }).waitFor();
    const story = await textOf(page, '.group .story');
    assert.match(story, /a is dead since \d\d:\d\d:\d\d — .*no answer to 3 probes, silent for \d/);
    assert.match(story, /Traffic goes by b since \d\d:\d\d:\d\d\./);
    await rig.supervisor.apply(config('a', 'b'));
    await sees(page, /Traffic returns to it at/);
    const back = /Traffic goes by a, the preferred path, since/;
    await page.locator('.group', { hasText: back }).waitFor();
    assert.match(await textOf(page, '.group .story'), /a is back: preferred tier 1, good for/);
  });

  test('every page fits a phone of 360 px in light, a desk in dark, and has no barrier by axe', async (t) => {
    const config = await twoPaths();
    const rig = await served(t, config('b'));
    const at = new Date().toISOString();
    rig.log.append({ at, type: 'switch', group: 'db', from: 'a', to: 'b', why: 'a is down' });
    const pages = [
      ['/', 'Every tag'],
      ['/groups', 'A group is several paths'],
      ['/groups/db', 'Which path carried traffic'],
      ['/links/a', 'A dead peer is known within'],
      ['/machine', /those within this machine counted|koffi/],
      ['/links/nobody', 'There is no link nobody'],
      ['/status', 'Example'],
    ] as const;
    for (const colorScheme of ['light', 'dark'] as const) {
      const viewport = colorScheme === 'light' ? PHONE : DESK;
      const options = { viewport, colorScheme };
      const { page, complaints } = await openPage(t, browser, `${rig.url}/status`, options);
      for (const [address, text] of pages) {
        await page.goto(rig.url + address);
        await page.getByText(text).first().waitFor({ state: 'attached', timeout: BOUND_MS });
        assert.equal(await overflowOf(page), 0, `${address} is wider than its window`);
        assert.deepEqual(await barriersIn(page), [], `${address} in ${colorScheme}`);
      }
      // A link that is not there, and connections that this machine may not show.
      const refusals = complaints().filter((text) => !/\b(404|501|503)\b/.test(text));
      assert.deepEqual(refusals, []);
    }
  });

  test('a link drained elsewhere is shown within a second, and told to who does not see', async (t) => {
    const rig = await served(t, linksCalled('a'));
    const { page } = await openPage(t, browser, `${rig.url}/links/a`);
    await sees(page, /What happened/);
    await sees(page, 'Live');
    rig.supervisor.link('a')?.drain();
    await page.locator('.title .mark.drained').waitFor({ timeout: NEWS_MS });
    assert.match(await textOf(page, '[data-announcer]'), /a is drained: a person took it out/);
    await sees(page, /Drained, was/);
  });

  test('drains and resumes, having asked for the token once; a wrong one is told', async (t) => {
    const rig = await served(t, linksCalled('a'));
    const { page, complaints } = await openPage(t, browser, `${rig.url}/links/a`);
    await page.getByRole('button', { name: 'Drain a' }).click();
    await sees(page, 'To drain a, a token is needed');
    assert.match(await textOf(page, 'dialog'), /linkhold\/token/);
    await page.getByLabel('Token', { exact: true }).fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).last().click();
    await sees(page, 'That is no token of this daemon.');
    await page.getByLabel('Token', { exact: true }).fill(TOKEN);
    await page.getByRole('button', { name: 'Sign in' }).last().click();
    await page.locator('.title .mark.drained').waitFor();
    assert.equal(rig.supervisor.link('a')?.state, 'drained');
    await page.getByRole('button', { name: 'Resume a' }).click();
    await page.getByRole('button', { name: 'Drain a' }).waitFor();
    assert.notEqual(rig.supervisor.link('a')?.state, 'drained');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    assert(complaints().every((text) => text.includes('401')));
  });

  test('by the keyboard: / searches, Escape ends it, j and k walk, Enter opens, Escape leads back', async (t) => {
    const rig = await served(t, linksCalled('alpha', 'beta', 'gamma'));
    const { page } = await openPage(t, browser, rig.url);
    await page.getByRole('link', { name: 'alpha' }).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('bet');
    await page.getByRole('link', { name: 'alpha' }).waitFor({ state: 'detached' });
    assert.match(page.url(), /\?q=bet$/);
    await page.keyboard.press('Escape');
    await page.getByRole('link', { name: 'gamma' }).waitFor();
    await page.keyboard.press('j');
    await page.locator('a.name:focus', { hasText: 'alpha' }).waitFor();
    await page.keyboard.press('ArrowDown');
    await page.locator('a.name:focus', { hasText: 'beta' }).waitFor();
    await page.keyboard.press('k');
    await page.locator('a.name:focus', { hasText: 'alpha' }).waitFor();
    await page.keyboard.press('Enter');
    await sees(page, 'A dead peer is known within');
    assert.match(page.url(), /\/links\/alpha$/);
    await page.keyboard.press('Escape');
    await page.getByRole('link', { name: 'beta' }).waitFor();
  });

  test('of 1,000 links only those on the screen are made; counts filter, and the address keeps it', async (t) => {
    const names = Array.from({ length: 1_000 }, (_, index) => `n${String(index).padStart(3, '0')}`);
    const rig = await served(t, linksCalled(...names));
    for (const name of names.slice(0, 3)) rig.supervisor.link(name)?.drain();
    const { page } = await openPage(t, browser, rig.url, { viewport: DESK });
    const rows = page.locator('ul.links > li');
    await page.getByRole('link', { name: 'n003', exact: true }).waitFor();
    assert((await rows.count()) < 60, `${await rows.count()} rows`);
    await page.evaluate('scrollTo(0, document.body.scrollHeight)');
    await page.getByRole('link', { name: 'n002', exact: true }).waitFor();
    assert((await rows.count()) < 60, `${await rows.count()} rows`);
    await page.getByRole('button', { name: /^Drained 3$/ }).click();
    await rows.nth(3).waitFor({ state: 'detached' });
    await page.reload();
    await page.getByRole('link', { name: 'n001', exact: true }).waitFor();
    assert.equal(await rows.count(), 3);
  });

  test('what nobody observed is told as neither up nor down: in lanes of a group, and of each cell', async (t) => {
    const config = await twoPaths();
    const rig = await served(t, config('a', 'b'));
    const minute = Math.floor(Date.now() / 60_000) * 60_000;
    const up = { ...emptyStats(), stateMs: { up: 60_000, suspect: 0, down: 0, drained: 0 } };
    for (const ago of [1, 2, 3, 4, 5, 31, 32, 33]) {
      rig.store.putMinuteNow(minute - ago * 60_000, new Map([['a', up]]));
    }
    const { page } = await openPage(t, browser, `${rig.url}/groups/db`);
    const gaps = page.locator('.lane .pointed');
    await gaps.nth(3).waitFor({ state: 'attached' });
    const told = await gaps.allTextContents();
    assert.equal(told.length, 4, 'two gaps in each of two lanes');
    for (const text of told) assert.match(text, /^Not observed from .* Neither up nor down\.$/);
    await sees(page, 'not observed: neither up nor down');
    await page.goto(`${rig.url}/links/a`);
    const cells = page.locator('.bar .pointed');
    await cells.nth(50).waitFor({ state: 'attached' });
    const texts = (await cells.allTextContents()).map((text) => text.replaceAll(/\s/g, ' '));
    assert.match(texts.at(-2) ?? '', /: up 100 %$/);
    assert.match(texts.at(-10) ?? '', /: not observed 100 %$/);
  });

  test('of 600 events the newest 50 are shown, then older ones, each once, and news on top', async (t) => {
    const rig = await served(t, linksCalled('a'));
    const at = new Date().toISOString();
    const say = (text: string) => rig.log.append({ at, type: 'note', link: 'a', text });
    for (let index = 1; index <= 600; index += 1) say(`event ${index}.`);
    const { page } = await openPage(t, browser, `${rig.url}/links/a`);
    const rows = page.locator('.events > li');
    await rows.nth(49).waitFor();
    assert.equal(await rows.count(), 50);
    const older = page.getByRole('button', { name: 'Older events' });
    await older.click();
    await rows.nth(249).waitFor();
    say('news.');
    await rows.first().getByText('news.').waitFor();
    assert.equal(await rows.count(), 251);
    await older.click();
    await rows.nth(450).waitFor();
    await older.click();
    await older.waitFor({ state: 'detached' });
    const texts = (await rows.allInnerTexts()).map((row) => /(event \d+|news)\./.exec(row)?.[1]);
    const told = texts.filter((text) => text !== undefined);
    const all = Array.from({ length: 600 }, (_, index) => `event ${600 - index}`);
    assert.deepEqual(told, ['news', ...all]);
  });

  test('names, addresses, tags and events with markup are text', async (t) => {
    const evil = `<img src=x onerror="document.title='owned'">`;
    const { links = {} } = linksCalled(evil);
    const tagged = Object.fromEntries(
      Object.entries(links).map(([name, link]) => [name, { ...link, tags: [evil] }]),
    );
    const groups = { [evil]: { paths: [{ link: evil }] } };
    const rig = await served(t, { links: tagged, groups });
    const at = new Date().toISOString();
    rig.log.append({ at, type: 'note', link: evil, text: `${evil} noted` });
    const name = encodeURIComponent(evil);
    const { page } = await openPage(t, browser, rig.url);
    for (const address of ['/', `/links/${name}`, `/groups/${name}`, '/groups']) {
      await page.goto(rig.url + address);
      await sees(page, evil);
      assert.equal(await page.locator('img').count(), 0, address);
      assert.notEqual(await page.title(), 'owned');
    }
    await page.goto(`${rig.url}/links/${name}`);
    await sees(page, `${evil} noted`);
  });

  test('light or dark is chosen, and remembered', async (t) => {
    const rig = await served(t, linksCalled('a'));
    const { page } = await openPage(t, browser, rig.url, { colorScheme: 'light' });
    const ground = async () =>
      await page.evaluate('getComputedStyle(document.body).backgroundColor');
    const light = await ground();
    const button = page.getByRole('button', { name: /colours/ });
    await button.click();
    assert.equal(await ground(), light);
    await button.click();
    assert.notEqual(await ground(), light);
    await page.reload();
    await button.waitFor();
    assert.notEqual(await ground(), light);
  });

  test('an unreachable daemon is told with the time since, and what was missed comes after', async (t) => {
    const rig = await served(t, linksCalled('a'));
    const { page } = await openPage(t, browser, `${rig.url}/links/a`);
    await sees(page, 'Live');
    await page.context().setOffline(true);
    await sees(page, /The last sign of it was [\d.]+\sm?s ago/);
    rig.supervisor.link('a')?.drain();
    await page.context().setOffline(false);
    await page.locator('.title .mark.drained').waitFor();
    await page.locator('.lost-banner').waitFor({ state: 'detached' });
  });

  test('the status page needs no JavaScript', async (t) => {
    const config = await twoPaths();
    const rig = await served(t, config('a', 'b'));
    const { page } = await openPage(t, browser, `${rig.url}/status`, { javaScriptEnabled: false });
    await sees(page, 'Example');
    assert.equal(await page.locator('svg.bar').count(), 2);
    assert.equal(await page.locator('.links li').count(), 2);
  });
});
