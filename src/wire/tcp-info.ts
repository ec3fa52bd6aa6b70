/**
 * `struct tcp_info` of linux/tcp.h: what the kernel knows of a connection right now. The same bytes
 * come from getsockopt(TCP_INFO) and from sock_diag's INET_DIAG_INFO.
 * @module
 */
import { DecodeError } from './decode-error.ts';

/** What the kernel knows about a connection right now. */
export interface TcpInfo {
  /** TCP_ESTABLISHED is 1. */
  readonly state: number;
  /** Probes in flight or lost in a row (keepalive or zero window). */
  readonly probes: number;
  /** Retransmissions in a row of the oldest unacknowledged data. */
  readonly retransmits: number;
  readonly rtoMs: number;
  readonly rttMs: number;
  /** Segments sent and not yet acknowledged. */
  readonly unacked: number;
  /** Milliseconds since anything arrived: data or a bare acknowledgement. */
  readonly silentMs: number;
}

/** Up to `tcpi_rttvar`, which kernels have filled since 2.6. */
export const TCP_INFO_LENGTH = 76;

/** Throws `DecodeError` if there are fewer bytes than `TCP_INFO_LENGTH`. */
export function decodeTcpInfo(view: DataView, at = 0): TcpInfo {
  const length = view.byteLength - at;
  if (length < TCP_INFO_LENGTH) throw new DecodeError('tcp-info', 'cut-short', length);
  return {
    state: view.getUint8(at),
    retransmits: view.getUint8(at + 2),
    probes: view.getUint8(at + 3),
    rtoMs: view.getUint32(at + 8, true) / 1_000,
    unacked: view.getUint32(at + 24, true),
    silentMs: Math.min(view.getUint32(at + 52, true), view.getUint32(at + 56, true)),
    rttMs: view.getUint32(at + 68, true) / 1_000,
  };
}
