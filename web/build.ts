/**
 * `node web/build.ts`: builds the dashboard into dist/web, from where the daemon serves it. The package's
 * build does the same by `buildWeb`.
 * @module
 */
import { copyFileSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { build, type Metafile } from 'esbuild';

const ROOT = path.join(import.meta.dirname, '..');
const OUT = path.join(ROOT, 'dist', 'web');

/** Resolves to what went into it. */
export async function buildWeb(): Promise<Metafile> {
  mkdirSync(OUT, { recursive: true });
  for (const file of ['index.html', 'icon.svg']) {
    copyFileSync(path.join(ROOT, 'web', file), path.join(OUT, file));
  }
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: { app: 'web/main.tsx', style: 'web/style/app.css' },
    entryNames: 'app',
    outdir: OUT,
    bundle: true,
    minify: true,
    format: 'iife',
    target: ['es2022', 'chrome111', 'firefox113', 'safari16.4'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
  });
  return metafile;
}

if (import.meta.main) await buildWeb();
