/**
 * Secrets of channels, from the configuration or a file beside it. Errors name the file and never
 * what is in it.
 * @module
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { UsageError } from '../../time/usage-error.ts';

const LONGEST = 4_096;

/** The value of `key` or of the file that `keyFile` names; `undefined` if there is neither. */
export function readSecret<Key extends string>(
  entry: { readonly [key in Key | `${Key}File`]?: string | undefined },
  key: Key,
  where: string,
): string | undefined {
  const given = entry[key];
  const file = entry[`${key}File`];
  if (file === undefined) return given;
  if (given !== undefined) {
    throw new UsageError('bad-config', `${where}.${key}: give ${key} or ${key}File, not both`);
  }
  const text = readFile(file, `${where}.${key}File`).trim();
  if (text !== '' && text.length <= LONGEST) return text;
  const what = text === '' ? 'is empty' : `holds more than ${LONGEST} characters`;
  throw new UsageError('bad-config', `${where}.${key}File: ${file} ${what}`);
}

/** A small file. */
export function readFile(file: string, where: string, most: number = LONGEST): string {
  try {
    const bytes = Buffer.alloc(most + 2);
    const fd = openSync(file, 'r');
    try {
      return bytes.toString('utf8', 0, readSync(fd, bytes));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError('bad-config', `${where}: ${file} cannot be read (${code})`);
  }
}
