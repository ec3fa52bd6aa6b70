/**
 * What carries OpenVPN's packets: a connected UDP socket, or a TCP connection in which each packet has
 * its length before it. Both look like a datagram socket. One is opened, used and closed; whoever wants
 * another makes another.
 * @module
 */
import { EventEmitter } from 'node:events';
import net, { isIP } from 'node:net';
import { encodeTcpPacket, TcpPacketReader } from '../../wire/openvpn-packet.ts';
import { hostPort } from '../link-url.ts';
import { UdpDialer } from '../udp-dialer.ts';
import type { DatagramSocket } from '../udp-session.ts';

/** Where to, by what, and from where. */
export interface TransportPlace {
  readonly host: string;
  readonly port: number;
  readonly transport: 'udp' | 'tcp';
  /** 0: whichever the name has. */
  readonly family: 0 | 4 | 6;
  readonly source?: string | undefined;
  readonly sourcePort?: number | undefined;
}

interface TransportEvents {
  /** It can be used; what is sent before is lost. */
  open: [];
  message: [Uint8Array];
  /** The kernel says that a packet did not arrive, or cannot leave. */
  error: [Error];
  /** It cannot be opened, or is over; without an error the peer said goodbye. Nothing follows. */
  end: [Error | undefined];
}

export abstract class OpenvpnTransport
  extends EventEmitter<TransportEvents>
  implements DatagramSocket
{
  protected readonly place: TransportPlace;
  protected closed = false;
  local: string | null = null;
  localPort: number | undefined;
  remote: string | null = null;

  constructor(place: TransportPlace) {
    super();
    this.place = place;
  }

  /** Ends it. Nothing is told of it. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.shut();
    this.removeAllListeners();
  }

  /** Begins; `open` or `end` follows. */
  abstract open(): void;
  abstract send(bytes: Uint8Array, done: (error: Error | null) => void): void;
  protected abstract shut(): void;

  protected opened(local: net.AddressInfo, remote: net.AddressInfo): void {
    if (this.closed) return;
    this.local = hostPort(local.address, local.port);
    this.localPort = local.port;
    this.remote = hostPort(remote.address, remote.port);
    this.emit('open');
  }

  protected over(error: Error | undefined): void {
    if (this.closed) return;
    this.closed = true;
    this.shut();
    this.emit('end', error);
    this.removeAllListeners();
  }
}

class UdpTransport extends OpenvpnTransport {
  readonly #dialer = new UdpDialer(this.place, {
    connected: (socket) => this.opened(socket.address(), socket.remoteAddress()),
    message: (bytes) => this.emit('message', bytes),
    failed: (error) => this.over(error),
    doubted: (error) => {
      if (this.listenerCount('error') > 0) this.emit('error', error);
    },
  });

  open(): void {
    this.#dialer.dial();
  }

  send(bytes: Uint8Array, done: (error: Error | null) => void): void {
    this.#dialer.send(bytes, done);
  }

  protected shut(): void {
    this.#dialer.hangUp();
  }
}

class TcpTransport extends OpenvpnTransport {
  readonly #reader = new TcpPacketReader();
  #socket: net.Socket | undefined;

  send(bytes: Uint8Array, done: (error: Error | null) => void): void {
    if (!this.closed) this.#socket?.write(encodeTcpPacket(bytes), (error) => done(error ?? null));
  }

  open(): void {
    const { host, port, family: wanted, source, sourcePort } = this.place;
    const family = isIP(source ?? '') || wanted;
    const socket = net.connect({
      host,
      port,
      family,
      noDelay: true,
      ...(source === undefined ? {} : { localAddress: source }),
      ...(sourcePort === undefined ? {} : { localPort: sourcePort }),
    });
    this.#socket = socket;
    socket.on('error', (error) => this.over(error));
    socket.once('end', () => this.over(undefined)).once('close', () => this.over(undefined));
    socket.on('data', (bytes: Uint8Array) => this.#take(bytes));
    socket.once('connect', () =>
      this.opened(socket.address() as net.AddressInfo, {
        address: socket.remoteAddress ?? host,
        port: socket.remotePort ?? port,
        family: socket.remoteFamily ?? '',
      }),
    );
  }

  protected shut(): void {
    this.#socket?.destroySoon();
    this.#socket = undefined;
  }

  #take(bytes: Uint8Array): void {
    let packets: Uint8Array[];
    try {
      packets = this.#reader.read(bytes);
    } catch (error) {
      this.over(error as Error);
      return;
    }
    for (const packet of packets) if (!this.closed) this.emit('message', packet);
  }
}

/** Not yet opened. */
export function createTransport(place: TransportPlace): OpenvpnTransport {
  return place.transport === 'tcp' ? new TcpTransport(place) : new UdpTransport(place);
}
