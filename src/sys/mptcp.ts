/**
 * Multipath TCP (RFC 8684): one connection over several paths, which the kernel keeps by itself where
 * both ends have it and else is plain TCP. Linux 5.6 and later; which addresses take part is for
 * ip-mptcp(8). It knows no link: it makes sockets for Node and asks the kernel about them.
 * @module
 */

import dns from 'node:dns';
import { closeSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { errnoName, libc, must } from './libc.ts';
import { SystemError } from './system-error.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x80000;
const IPPROTO_MPTCP = 262;
const SOL_MPTCP = 284;
const MPTCP_INFO = 1;
const MPTCP_TCPINFO = 2;

const SWITCH = '/proc/sys/net/mptcp/enabled';

/** Throws `SystemError` (`mptcp-missing`, `ffi-missing`) where the kernel has none, or has it off. */
export function requireMptcp(): void {
  closeSync(openSocket(4));
}

function openSocket(family: number): number {
  const domain = family === 6 ? AF_INET6 : AF_INET;
  const fd = libc().socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_MPTCP);
  if (fd >= 0) return fd;
  const errno = errnoName(libc().errno());
  let enabled = '';
  try {
    enabled = readFileSync(SWITCH, 'utf8').trim();
  } catch {
    // A kernel without it has no switch for it.
  }
  const mend =
    enabled === '0'
      ? 'it is off; turn it on: sysctl net.mptcp.enabled=1'
      : 'it needs Linux 5.6 or later with CONFIG_MPTCP';
  throw new SystemError('mptcp-missing', `no Multipath TCP here (${errno}): ${mend}`);
}

/** As much of Node's handle of a TCP socket as takes a descriptor of ours. */
interface Handle {
  open(fd: number): number;
}

/**
 * Connects as `net.connect` does, by Multipath TCP if the peer has it. What this machine refuses is an
 * `error` of the socket.
 */
export function connectMptcp(options: net.TcpNetConnectOpts): net.Socket {
  const adopt = (family: number) => {
    const fd = openSocket(family);
    const result = (Reflect.get(socket, '_handle') as Handle).open(fd);
    if (result === 0) return;
    closeSync(fd);
    throw new SystemError(errnoName(-result), 'Node does not take the socket');
  };
  const socket = net.connect({
    ...options,
    // Node would make sockets of its own to try several addresses.
    autoSelectFamily: false,
    lookup: (host, { family, hints }, done) => {
      const wanted = { family: family ?? 0, hints: hints ?? 0 };
      dns.lookup(host, wanted, (error, address, found) => {
        try {
          if (error === null) adopt(found);
          done(error, address, found);
        } catch (failure) {
          done(failure as Error, address, found);
        }
      });
    },
  });
  // It connects in the next turn, and an address is not looked up.
  const family = net.isIP(options.host ?? 'localhost');
  try {
    if (family !== 0) adopt(family);
  } catch (error) {
    socket.destroy(error as Error);
  }
  return socket;
}

/** Whether Multipath TCP carries a connection, or it has fallen back to plain TCP. */
export function usesMptcp(fd: number): boolean {
  const [info, length] = [new Uint8Array(4), Uint8Array.of(4, 0, 0, 0)];
  return libc().getsockopt(fd, SOL_MPTCP, MPTCP_INFO, info, length) >= 0;
}

/**
 * What the kernel tells of the subflows, or `undefined` if the connection has fallen back to plain
 * TCP (RFC 8684 section 3.7). `question` is what `encodeSubflowQuestion` makes. Throws `SystemError`.
 */
export function readSubflows(fd: number, question: Uint8Array): DataView | undefined {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, question.length, true);
  const result = libc().getsockopt(fd, SOL_MPTCP, MPTCP_TCPINFO, question, length);
  // The same number as EOPNOTSUPP.
  if (result < 0 && errnoName(libc().errno()) === 'ENOTSUP') return undefined;
  must('getsockopt(MPTCP_TCPINFO)', result);
  const filled = new DataView(length.buffer).getUint32(0, true);
  return new DataView(question.buffer, 0, Math.min(filled, question.length));
}
