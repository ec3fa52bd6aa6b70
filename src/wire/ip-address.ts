/**
 * IP addresses and prefixes as text and as 16 bytes, IPv4 as `::ffff:a.b.c.d` (RFC 4291 section
 * 2.5.5.2), so that both families compare and match alike. Text is written as RFC 5952 says.
 * @module
 */

/** An address range: the first `length` bits of `bytes` are given, of 128. */
export interface Prefix {
  readonly bytes: Uint8Array;
  readonly length: number;
}

const V4_OFFSET = 12;
const V4_BITS = 96;
const GROUPS = 8;

/** The 16 bytes of an address, or `undefined` for what is none. Zones (`%eth0`) are refused. */
export function parseIp(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(16);
  if (!text.includes(':')) {
    const v4 = parseV4(text);
    if (v4 === undefined) return undefined;
    bytes.fill(0xff, 10, V4_OFFSET);
    bytes.set(v4, V4_OFFSET);
    return bytes;
  }
  const groups = parseV6Groups(text);
  for (const [index, group] of groups?.entries() ?? []) {
    bytes[2 * index] = group >> 8;
    bytes[2 * index + 1] = group & 0xff;
  }
  return groups === undefined ? undefined : bytes;
}

/** `10.0.0.0/8`, `fd00::/8` or a single address, or `undefined`. Bits past the length are dropped. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address = '', bits, ...more] = text.split('/');
  const bytes = parseIp(address);
  if (bytes === undefined || more.length > 0) return undefined;
  const offset = address.includes(':') ? 0 : V4_BITS;
  const most = 128 - offset;
  if (bits !== undefined && (!/^\d{1,3}$/.test(bits) || Number(bits) > most)) return undefined;
  const length = offset + Number(bits ?? most);
  for (let bit = length; bit < 128; bit += 1) {
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) & ~(0x80 >> (bit & 7));
  }
  return { bytes, length };
}

/** Whether `address` lies within `prefix`. */
export function inPrefix(address: Uint8Array, { bytes, length }: Prefix): boolean {
  const whole = length >> 3;
  for (let index = 0; index < whole; index += 1) if (address[index] !== bytes[index]) return false;
  const rest = length & 7;
  if (rest === 0) return true;
  return (((address[whole] ?? 0) ^ (bytes[whole] ?? 0)) & (0xff << (8 - rest)) & 0xff) === 0;
}

/** Whether the 16 bytes from `at` on are an IPv4 address in IPv6's clothes. */
export function isMappedV4(bytes: Uint8Array, at = 0): boolean {
  for (let index = 0; index < 10; index += 1) if (bytes[at + index] !== 0) return false;
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
}

/** The address of 16 bytes from `at` on as text. */
export function formatIp(bytes: Uint8Array, at = 0): string {
  return isMappedV4(bytes, at) ? formatV4(bytes, at + V4_OFFSET) : formatV6(bytes, at);
}

/** A prefix as text; a whole address has no length behind it. */
export function formatPrefix({ bytes, length }: Prefix): string {
  const v4 = length >= V4_BITS && isMappedV4(bytes);
  const bits = v4 ? length - V4_BITS : length;
  const text = v4 ? formatV4(bytes, V4_OFFSET) : formatV6(bytes, 0);
  return bits === (v4 ? 32 : 128) ? text : `${text}/${bits}`;
}

export function formatV4(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

function formatV6(bytes: Uint8Array, at: number): string {
  const groups: number[] = [];
  for (let index = 0; index < GROUPS; index += 1) {
    groups.push(((bytes[at + 2 * index] ?? 0) << 8) | (bytes[at + 2 * index + 1] ?? 0));
  }
  // The longest run of zeros, the first of equals, at least two long.
  let [best, length] = [0, 1];
  for (let from = 0; from < GROUPS; from += 1) {
    let to = from;
    while (to < GROUPS && groups[to] === 0) to += 1;
    if (to - from > length) [best, length] = [from, to - from];
  }
  const text = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':');
  if (length < 2) return text(groups);
  return `${text(groups.slice(0, best))}::${text(groups.slice(best + length))}`;
}

function parseV4(text: string): number[] | undefined {
  const parts = text.split('.');
  const good = parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
  return good && parts.length === 4 ? parts.map(Number) : undefined;
}

function parseV6Groups(text: string): number[] | undefined {
  const plain = withoutDots(text);
  const [head = '', tail, ...more] = plain?.split('::') ?? [];
  if (plain === undefined || more.length > 0) return undefined;
  const read = (part: string): number[] =>
    (part === '' ? [] : part.split(':')).map((group) =>
      /^[\da-f]{1,4}$/i.test(group) ? Number.parseInt(group, 16) : Number.NaN,
    );
  const [front, back] = [read(head), tail === undefined ? [] : read(tail)];
  const missing = GROUPS - front.length - back.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...front, ...new Array<number>(missing).fill(0), ...back];
  return groups.some(Number.isNaN) ? undefined : groups;
}

/** With a dotted end, as in `::ffff:10.0.0.5`, written as the two groups that it stands for. */
function withoutDots(text: string): string | undefined {
  const at = text.lastIndexOf(':') + 1;
  const end = text.slice(at);
  if (!end.includes('.')) return text;
  const v4 = parseV4(end);
  if (v4 === undefined) return undefined;
  const [a = 0, b = 0, c = 0, d = 0] = v4;
  return `${text.slice(0, at)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}
