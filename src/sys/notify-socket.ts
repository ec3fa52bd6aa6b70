/**
 * One datagram to a socket in the file system or with an abstract name (unix(7)), which Node itself
 * cannot send. Linux only. It knows nothing of what is told.
 * @module
 */
import { closeSync } from 'node:fs';
import { libc, must } from './libc.ts';
import { SystemError } from './system-error.ts';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2_000_000;
/** `struct sockaddr_un`: the family, and a name of at most so many bytes. */
const FAMILY_LENGTH = 2;
const NAME_ROOM = 108;
/** A receiver that does not read must not stop us, nor one that went away. */
const MSG_DONTWAIT_NOSIGNAL = 0x40 | 0x4000;

/**
 * Sends `text` to a socket: an absolute path, or `@` and an abstract name. Throws `SystemError`:
 * `bad-socket-name`, or the errno, such as ENOENT where nobody has it and EAGAIN where nobody reads.
 */
export function sendDatagram(socket: string, text: string): void {
  const address = encodeName(socket);
  const bytes = new TextEncoder().encode(text);
  const fd = must('socket(AF_UNIX)', libc().socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  try {
    must(`connect(${socket})`, libc().connect(fd, address, address.length));
    must(`send(${socket})`, libc().send(fd, bytes, bytes.length, MSG_DONTWAIT_NOSIGNAL));
  } finally {
    closeSync(fd);
  }
}

/** An abstract name begins with a zero, and its length is the address's. */
function encodeName(socket: string): Uint8Array {
  const isAbstract = socket.startsWith('@');
  const name = new TextEncoder().encode(isAbstract ? `\0${socket.slice(1)}` : `${socket}\0`);
  if (!(isAbstract || socket.startsWith('/')) || name.length < 2 || name.length > NAME_ROOM) {
    const text = `"${socket}" is not the name of a socket: a path, or @ and a name, of 107 bytes`;
    throw new SystemError('bad-socket-name', text);
  }
  const address = new Uint8Array(FAMILY_LENGTH + name.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, FAMILY_LENGTH);
  return address;
}
