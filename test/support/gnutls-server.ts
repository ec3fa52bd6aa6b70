/**
 * GnuTLS' own server and client (Debian: gnutls-bin) as peers.
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import type { TestContext } from 'node:test';
import type { Certified } from './certificates.ts';
import { freePort } from './free-port.ts';
import { Peer, START_MS } from './lab.ts';
import { eventually } from './scripted-http.ts';

/** Why they cannot be run here, or `false`. */
export function gnutlsBinMissing(): string | false {
  const { error } = spawnSync('gnutls-serv', ['--version'], { stdio: 'ignore' });
  return error === undefined ? false : 'needs the command gnutls-serv (Debian: gnutls-bin)';
}

/** What a server is to be. */
export interface GnutlsServerOptions {
  readonly datagram?: boolean;
  /** Default: yes. */
  readonly heartbeat?: boolean;
  readonly priority?: string;
  readonly port?: number;
}

/** A program that is ended with the test. */
export function startPeer(t: TestContext, command: string, args: readonly string[]): Peer {
  const child: ChildProcess = spawn(command, args, { stdio: 'pipe' });
  const peer = new Peer(child);
  t.after(async () => {
    child.kill('SIGKILL');
    child.kill('SIGCONT');
    await peer.exited;
  });
  return peer;
}

/** Starts gnutls-serv, which echoes and, told `**HEARTBEAT**`, asks the client by a heartbeat. */
export async function startGnutls(
  t: TestContext,
  { certificate, key }: Certified,
  { datagram = false, heartbeat = true, priority, port }: GnutlsServerOptions = {},
): Promise<{ port: number; server: Peer }> {
  const at = port ?? (await freePort());
  const args = ['--port', String(at), '--echo', '--disable-client-cert'];
  args.push('--x509certfile', certificate, '--x509keyfile', key);
  if (datagram) args.push('--udp');
  if (heartbeat) args.push('--heartbeat');
  if (priority !== undefined) args.push('--priority', priority);
  const server = startPeer(t, 'gnutls-serv', args);
  await eventually('it listens', () => /listening on IPv4.*done/.test(server.errors), START_MS);
  return { port: at, server };
}
