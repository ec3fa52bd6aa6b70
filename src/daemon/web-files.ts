/**
 * The dashboard's files as they were built, read once. In a checkout that has not built them, a page
 * that says how.
 * @module
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';

/** From the source as from the bundled command, both two folders below the root. */
const BUILT = path.join(import.meta.dirname, '../../dist/web');

const TYPES = {
  'index.html': 'text/html; charset=utf-8',
  'app.js': 'text/javascript; charset=utf-8',
  'app.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const;
export type WebFileName = keyof typeof TYPES;

const NOT_BUILT = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Linkhold</title>
<h1>Linkhold runs</h1><p>Its dashboard is not built. Run <code>make dashboard</code> in the checkout
and load this page again.</p></html>
`;

export interface WebFile {
  readonly type: string;
  readonly body: Buffer;
  /** Changes with the body. */
  readonly tag: string;
}

const read = new Map<WebFileName, WebFile>();

export const WEB_FILE_NAMES: readonly WebFileName[] = Object.keys(TYPES) as WebFileName[];

/** `undefined` where it is not built; the page itself is always there. */
export function webFile(name: WebFileName): WebFile | undefined {
  const known = read.get(name);
  if (known !== undefined) return known;
  try {
    const file = fileOf(name, readFileSync(path.join(BUILT, name)));
    read.set(name, file);
    return file;
  } catch {
    return name === 'index.html' ? fileOf(name, Buffer.from(NOT_BUILT)) : undefined;
  }
}

function fileOf(name: WebFileName, body: Buffer): WebFile {
  const hash = createHash('sha256').update(body).digest('base64url');
  return { type: TYPES[name], body, tag: `"${hash}"` };
}
