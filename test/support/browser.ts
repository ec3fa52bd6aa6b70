/**
 * A browser for tests of pages: Debian's Chromium, driven from here. A page that complains on its
 * console, or asks for anything that its policy forbids, fails the test.
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { TestContext } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const CHROMIUM = '/usr/bin/chromium';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Why there is no browser, or `false`. */
export const browserMissing: string | false = existsSync(CHROMIUM)
  ? false
  : "there is no /usr/bin/chromium; install Debian's package chromium";

/** Chromium's own cage does not work for root. */
export async function openBrowser(): Promise<Browser> {
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return await chromium.launch({ executablePath: CHROMIUM, args });
}

export interface OpenPage {
  readonly page: Page;
  /** What the page complained of so far; asking forgets it. */
  readonly complaints: () => string[];
}

/** A page of a profile of its own, closed with the test; complaints left over then fail it. */
export async function openPage(
  t: TestContext,
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<OpenPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  let heard: string[] = [];
  page.on('console', (message) => {
    // That nobody answers is no fault of the page's: servers of tests end, too.
    const lost = message.text().includes('net::ERR_');
    if (message.type() === 'error' && !lost) heard.push(message.text());
  });
  page.on('pageerror', (error) => heard.push(error.message));
  const complaints = () => {
    const all = heard;
    heard = [];
    return all;
  };
  t.after(async () => {
    await context.close();
    assert.deepEqual(complaints(), [], url);
  });
  await page.goto(url);
  return { page, complaints };
}

/** What axe finds that is serious or critical, a line each. */
export async function barriersIn(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return await page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: {
        run: (options: object) => Promise<{
          violations: {
            id: string;
            impact: string;
            nodes: { html: string; failureSummary: string }[];
          }[];
        }>;
      };
    };
    const { violations } = await axe.run({ resultTypes: ['violations'] });
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .flatMap(({ id, nodes }) =>
        nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`),
      );
  });
}

/** By how many pixels the page is wider than the window. */
export async function overflowOf(page: Page): Promise<number> {
  return Number(
    await page.evaluate(
      'document.documentElement.scrollWidth - document.documentElement.clientWidth',
    ),
  );
}
