/**
 * A file's bytes without copying them (mmap(2)), for large ones that are read once and in part.
 * @module
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { libc } from './libc.ts';

const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MAP_FAILED = 2n ** 64n - 1n;

/**
 * The bytes of a file, mapped for as long as the process lives, or read where it cannot be mapped.
 * Do not write to them. Throws what `fs` throws.
 */
export function mapFile(file: string): Uint8Array {
  const fd = openSync(file, 'r');
  try {
    const { size } = fstatSync(fd);
    const address = libc().mmap(0, size, PROT_READ, MAP_PRIVATE, fd);
    return address === MAP_FAILED ? readFileSync(fd) : new Uint8Array(libc().view(address, size));
  } finally {
    closeSync(fd);
  }
}
