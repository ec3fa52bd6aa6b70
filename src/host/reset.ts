/**
 * Ends a half-open connection of this machine: the kernel destroys it, its program sees ECONNABORTED,
 * and its peer, if there is one, a RST. Needs CAP_NET_ADMIN.
 * @module
 */
import { inNetNamespace } from '../sys/net-namespace.ts';
import { SystemError } from '../sys/system-error.ts';
import { destroySocket } from './diag.ts';
import type { SocketRecord } from './socket-table.ts';

/** Destroys this very socket. Throws `SystemError`: EPERM, or ENOENT if it is gone by now. */
export function resetSocket({ socket }: SocketRecord, namespace: string | undefined): void {
  try {
    inNetNamespace(namespace, () => destroySocket(socket));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const { code, message } = error;
    if (code === 'EPERM') {
      throw new SystemError(code, 'destroying a connection needs CAP_NET_ADMIN');
    }
    if (code === 'ENOENT') throw new SystemError(code, 'the connection is gone already');
    if (code === 'EOPNOTSUPP') {
      throw new SystemError(code, 'this kernel was built without CONFIG_INET_DIAG_DESTROY');
    }
    throw new SystemError(code, message);
  }
}
