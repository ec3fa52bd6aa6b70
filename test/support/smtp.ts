/**
 * A mail server (RFC 5321) on loopback that follows a test's script: STARTTLS or TLS from the start,
 * AUTH PLAIN, and any answer to any command. It keeps what it got.
 * @module
 */
import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import tls from 'node:tls';

export interface SmtpOptions {
  readonly secure?: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  /** TLS from the first byte; else, with `secure`, by STARTTLS. */
  readonly implicit?: boolean;
  /** Says what it answers to a command, or `undefined` for the usual. `''`: nothing, ever. */
  script?(command: string): string | undefined;
}

export interface SmtpServer {
  readonly port: number;
  /** Whole mails, headers and all. */
  readonly mails: readonly string[];
  /** Commands of all connections. */
  readonly commands: readonly string[];
}

/** Starts one that ends with its test. */
export async function startSmtp(t: TestContext, options: SmtpOptions = {}): Promise<SmtpServer> {
  const mails: string[] = [];
  const commands: string[] = [];
  const sockets = new Set<net.Socket>();
  const serve = (socket: net.Socket, greets: boolean) => {
    let text = '';
    let isData = false;
    const say = (line: string) => line !== '' && socket.write(`${line}\r\n`);
    const usual = (command: string) => {
      const verb = command.slice(0, 4).toUpperCase();
      const isPlain = options.secure !== undefined && !(socket instanceof tls.TLSSocket);
      if (verb === 'EHLO') return `250-hello\r\n250${isPlain ? ' STARTTLS' : ' AUTH PLAIN'}`;
      if (verb === 'DATA') return '354 go on';
      if (verb === 'STAR') return '220 ready';
      if (verb === 'AUTH') return '235 welcome';
      return verb === 'QUIT' ? '221 bye' : '250 ok';
    };
    const take = (command: string) => {
      commands.push(command);
      const answer = options.script?.(command) ?? usual(command);
      isData = answer.startsWith('354');
      say(answer);
      if (!answer.startsWith('220')) return;
      socket.removeAllListeners('data');
      const secured = new tls.TLSSocket(socket, { isServer: true, ...options.secure });
      serve(secured, false);
    };
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      for (;;) {
        const end = text.indexOf(isData ? '\r\n.\r\n' : '\r\n');
        if (end < 0) return;
        const part = text.slice(0, end);
        text = text.slice(end + (isData ? 5 : 2));
        if (!isData) take(part);
        else {
          isData = false;
          mails.push(part);
          say(options.script?.('.') ?? '250 kept');
        }
      }
    });
    if (greets) say(options.script?.('greeting') ?? '220 mail.example.net');
  };
  const accept = (socket: net.Socket) => {
    sockets.add(socket);
    serve(socket, true);
  };
  const server =
    options.implicit === true
      ? tls.createServer({ ...options.secure }, accept)
      : net.createServer(accept);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as net.AddressInfo).port, mails, commands };
}
