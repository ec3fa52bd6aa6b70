/**
 * The everyday library: hold a socket with `keepAlive`, an HTTP client's pool with
 * `HoldAgent` or `holdDispatcher`, look at a socket with `inspect`, watch a link by its
 * URL with `createLink`, or run the machine yourself with `Keepalive`. Path groups are `linkhold/path`, codecs
 * `linkhold/wire/<format>`. Named re-exports, nothing else.
 * @module
 */
export { type Inspection, inspect } from './host/inspect.ts';
export { type Detection, RISKS, type Risk } from './host/risk.ts';
export {
  type Evidence,
  Keepalive,
  type KeepaliveConfig,
  type KeepaliveOutput,
  LINK_STATES,
  type LinkState,
  REASONS,
  type Reason,
} from './keepalive/keepalive.ts';
export {
  detectionBoundMs,
  largestSilenceMs,
  type Profile,
  type ProfileName,
  profiles,
  resolveTiming,
  type Timing,
  type TimingInput,
} from './keepalive/timing.ts';
export {
  HoldAgent,
  type HoldAgentOptions,
  HoldHttpsAgent,
  type HoldHttpsAgentOptions,
  type LearnedOrigin,
} from './link/http/hold-agent.ts';
export {
  type FetchDispatcher,
  type HeldDispatcher,
  type HoldDispatcherOptions,
  holdDispatcher,
} from './link/http/hold-dispatcher.ts';
export type { HoldOptions } from './link/http/hold-options.ts';
export { type KeepAliveOptions, keepAlive } from './link/keep-alive.ts';
export type {
  Learned,
  Link,
  LinkClass,
  LinkEvent,
  LinkFacts,
  LinkIdentity,
  LinkStatus,
  NoteEvent,
  ProbeEvent,
  ReplyEvent,
  StateEvent,
} from './link/link.ts';
export { createLink } from './link/registry.ts';
export {
  connectDtls,
  type DtlsConnection,
  type PathMtu,
} from './link/tls/dtls-connection.ts';
export { createDtlsServer, type DtlsServer } from './link/tls/dtls-server.ts';
export type {
  SecureClientOptions,
  SecureOptions,
  SecureServerOptions,
} from './link/tls/secure-options.ts';
export {
  type ConnectTlsOptions,
  connectTls,
  createTlsServer,
  type TlsConnection,
  type TlsServer,
} from './link/tls/tls-connection.ts';
export { type DatagramSocket, UdpSession, type UdpSessionOptions } from './link/udp-session.ts';
export { SystemError } from './sys/system-error.ts';
export type { TcpOptions } from './sys/tcp-socket.ts';
export { TlsError } from './sys/tls-error.ts';
export { formatDuration, parseDuration } from './time/duration.ts';
export type { Instant } from './time/instant.ts';
export { UsageError } from './time/usage-error.ts';
export { DecodeError } from './wire/decode-error.ts';
export type { TcpInfo } from './wire/tcp-info.ts';
