/**
 * GnuTLS (libgnutls.so.30, versions 3.7 and 3.8) by FFI: the calls we make and how values cross.
 * Loaded on first use. It knows no session; see the GnuTLS manual for what each call does.
 * @module
 */
import { ffi } from './libc.ts';
import { SystemError } from './system-error.ts';
import { TlsError } from './tls-error.ts';

/** An address in C's memory. */
export type Pointer = bigint;

/** `gnutls_datum_t` that C fills. */
export interface Datum {
  readonly data: Pointer | null;
  readonly size: number;
}

/** Where a call puts a pointer. */
export type PointerOut = [Pointer | null];

/** How GnuTLS reads and writes: called with the number that `transport_set_ptr` was given. */
export interface Transport {
  /** Up to `length` bytes to `into`; how many, or -1 with an errno set by `setErrno`. */
  pull(id: number, into: Pointer, length: number): number;
  push(id: number, from: Pointer, length: number): number;
  /** Whether there is something to pull: 1 or 0. It never waits. */
  poll(id: number): number;
  /** The heartbeat extension of the peer: 0 or a GnuTLS error. */
  extensionReceived(session: Pointer, from: Pointer, length: number): number;
  /** Appends our extension to the buffer: how many bytes. */
  sendExtension(session: Pointer, buffer: Pointer): number;
}

type Call = (...args: unknown[]) => number;

/** What the pointer types of the prototypes are, by koffi's names. */
const TYPES = {
  structs: {
    LinkholdDatum: { data: 'uint8_t *', size: 'unsigned int' },
    LinkholdDatumOut: { data: 'void *', size: 'unsigned int' },
    LinkholdPrestate: {
      recordSeq: 'unsigned int',
      readSeq: 'unsigned int',
      writeSeq: 'unsigned int',
    },
  },
  // koffi has no ssize_t.
  callbacks: [
    'int64_t LinkholdPull(uintptr_t id, void *into, size_t length)',
    'int64_t LinkholdPush(uintptr_t id, const void *from, size_t length)',
    'int LinkholdPoll(uintptr_t id, unsigned int ms)',
    'int LinkholdExtensionReceived(void *session, const uint8_t *from, size_t length)',
    'int LinkholdSendExtension(void *session, void *buffer)',
  ],
};

const PROTOTYPES = {
  init: 'int gnutls_init(_Out_ void **session, unsigned int flags)',
  deinit: 'void gnutls_deinit(void *session)',
  priorityInit:
    'int gnutls_priority_init2(_Out_ void **priority, const char *text, void *where, unsigned int flags)',
  prioritySet: 'int gnutls_priority_set(void *session, void *priority)',
  credentialsSet: 'int gnutls_credentials_set(void *session, int type, void *credentials)',
  credentialsNew: 'int gnutls_certificate_allocate_credentials(_Out_ void **credentials)',
  credentialsFree: 'void gnutls_certificate_free_credentials(void *credentials)',
  trustSystem: 'int gnutls_certificate_set_x509_system_trust(void *credentials)',
  trust:
    'int gnutls_certificate_set_x509_trust_mem(void *credentials, const LinkholdDatum *ca, int format)',
  identify:
    'int gnutls_certificate_set_x509_key_mem2(void *credentials, const LinkholdDatum *certificate, const LinkholdDatum *key, int format, const char *password, unsigned int flags)',
  requestCertificate: 'void gnutls_certificate_server_set_request(void *session, int request)',
  verify: 'void gnutls_session_set_verify_cert(void *session, void *hostname, unsigned int flags)',
  verifyStatus: 'unsigned int gnutls_session_get_verify_cert_status(void *session)',
  verifyText:
    'int gnutls_certificate_verification_status_print(unsigned int status, int type, _Out_ LinkholdDatumOut *text, unsigned int flags)',
  serverNameSet:
    'int gnutls_server_name_set(void *session, int type, const char *name, size_t length)',
  alpnSet:
    'int gnutls_alpn_set_protocols(void *session, const LinkholdDatum *protocols, unsigned int count, unsigned int flags)',
  alpnGet: 'int gnutls_alpn_get_selected_protocol(void *session, _Out_ LinkholdDatumOut *protocol)',
  transportSet: 'void gnutls_transport_set_ptr(void *session, uintptr_t id)',
  pullSet: 'void gnutls_transport_set_pull_function(void *session, LinkholdPull *pull)',
  pushSet: 'void gnutls_transport_set_push_function(void *session, LinkholdPush *push)',
  pollSet: 'void gnutls_transport_set_pull_timeout_function(void *session, LinkholdPoll *poll)',
  setErrno: 'void gnutls_transport_set_errno(void *session, int number)',
  extensionSet:
    'int gnutls_session_ext_register(void *session, const char *name, int id, int parsePoint, LinkholdExtensionReceived *received, LinkholdSendExtension *send, void *deinit, void *pack, void *unpack, unsigned int flags)',
  bufferAppend: 'int gnutls_buffer_append_data(void *buffer, const uint8_t *bytes, size_t length)',
  heartbeatEnable: 'void gnutls_heartbeat_enable(void *session, unsigned int type)',
  heartbeatAllowed: 'unsigned int gnutls_heartbeat_allowed(void *session, unsigned int type)',
  handshake: 'int gnutls_handshake(void *session)',
  recordReceive: 'int64_t gnutls_record_recv(void *session, _Out_ uint8_t *into, size_t length)',
  recordSend: 'int64_t gnutls_record_send(void *session, const uint8_t *bytes, size_t length)',
  keyUpdate: 'int gnutls_session_key_update(void *session, unsigned int flags)',
  bye: 'int gnutls_bye(void *session, int how)',
  alertGet: 'int gnutls_alert_get(void *session)',
  alertSend: 'int gnutls_alert_send(void *session, int level, int alert)',
  alertFor: 'int gnutls_alert_send_appropriate(void *session, int error)',
  isFatal: 'int gnutls_error_is_fatal(int error)',
  protocol: 'int gnutls_protocol_get_version(void *session)',
  cipher: 'int gnutls_cipher_get(void *session)',
  stateGet:
    'int gnutls_record_get_state(void *session, unsigned int read, void *mac, _Out_ LinkholdDatumOut *iv, _Out_ LinkholdDatumOut *key, _Out_ uint8_t *sequence)',
  stateSet:
    'int gnutls_record_set_state(void *session, unsigned int read, const uint8_t *sequence)',
  dtlsTimeouts:
    'void gnutls_dtls_set_timeouts(void *session, unsigned int retransmit, unsigned int total)',
  dtlsTimeout: 'unsigned int gnutls_dtls_get_timeout(void *session)',
  dtlsMtu: 'void gnutls_dtls_set_mtu(void *session, unsigned int mtu)',
  dtlsDataMtu: 'unsigned int gnutls_dtls_get_data_mtu(void *session)',
  cookieKey: 'int gnutls_key_generate(_Out_ LinkholdDatumOut *key, unsigned int length)',
  cookieSend:
    'int gnutls_dtls_cookie_send(const LinkholdDatum *key, const uint8_t *client, size_t length, _Inout_ LinkholdPrestate *state, uintptr_t id, LinkholdPush *push)',
  cookieVerify:
    'int gnutls_dtls_cookie_verify(const LinkholdDatum *key, const uint8_t *client, size_t length, const uint8_t *message, size_t messageLength, _Inout_ LinkholdPrestate *state)',
  prestateSet: 'void gnutls_dtls_prestate_set(void *session, const LinkholdPrestate *state)',
} as const;

/** Those that answer with text. */
const TEXTS = {
  version: 'const char *gnutls_check_version(const char *required)',
  alertName: 'const char *gnutls_alert_get_name(int alert)',
  errorName: 'const char *gnutls_strerror_name(int error)',
  errorText: 'const char *gnutls_strerror(int error)',
} as const;

type Calls = Readonly<Record<keyof typeof PROTOTYPES, Call>>;
type Texts = Readonly<Record<keyof typeof TEXTS, (...args: unknown[]) => string | null>>;

/** The library, loaded. A call that fails answers below zero, with the number of an error. */
export interface Gnutls extends Calls, Texts {
  /** Has every session from now on read and write by these. They must never throw. */
  connect(transport: Transport): Readonly<Record<keyof Transport, unknown>>;
  /** A copy of C's bytes. */
  read(from: Pointer, length: number): Uint8Array;
  /** Bytes to C's memory, which must be as long. */
  write(into: Pointer, bytes: Uint8Array): void;
  /** Text in C's memory, ended by zero, until `free`. */
  text(text: string): Pointer;
  free(pointer: Pointer): void;
  /** Frees what GnuTLS itself has allocated. */
  release(pointer: Pointer): void;
}

let loaded: Gnutls | SystemError | undefined;

/** Why GnuTLS is not to be had here, in one line, or `undefined` if it is. */
export function gnutlsMissing(): string | undefined {
  loaded ??= load();
  return loaded instanceof SystemError ? loaded.message : undefined;
}

/** GnuTLS. Throws `SystemError` (`gnutls-missing`, `ffi-missing`). */
export function gnutls(): Gnutls {
  loaded ??= load();
  if (loaded instanceof SystemError) throw loaded;
  return loaded;
}

/** The result of a call, or a `TlsError` that names what was tried. */
export function check(what: string, result: number): number {
  if (result >= 0) return result;
  throw new TlsError(codeOf(result), `${what}: ${wordsOf(result)}`);
}

/** GnuTLS' own name for an error. */
export function codeOf(error: number): string {
  return gnutls().errorName(error) ?? `GNUTLS_E_${error}`;
}

/** An error in words, without the full stop. */
export function wordsOf(error: number): string {
  return (gnutls().errorText(error) ?? codeOf(error)).replace(/\.$/, '');
}

/** A filled `gnutls_datum_t` in bytes, which stay GnuTLS' own; a copy. */
export function copyOf({ data, size }: Datum): Uint8Array {
  return data === null || size === 0 ? new Uint8Array() : gnutls().read(data, size);
}

/** Bytes as C takes them. */
export function datum(bytes: Uint8Array): { data: Uint8Array; size: number } {
  return { data: bytes, size: bytes.length };
}

function load(): Gnutls | SystemError {
  let koffi: ReturnType<typeof ffi>;
  try {
    koffi = ffi();
  } catch (error) {
    return error as SystemError;
  }
  try {
    const library = koffi.load('libgnutls.so.30');
    for (const [name, members] of Object.entries(TYPES.structs)) koffi.struct(name, members);
    for (const callback of TYPES.callbacks) koffi.proto(callback);
    const declared = Object.entries({ ...PROTOTYPES, ...TEXTS }).map(([name, prototype]) => [
      name,
      library.func(prototype),
    ]);
    const c = koffi.load(null);
    const copyIn = c.func('void *memcpy(void *into, const uint8_t *from, size_t length)');
    const copyOut = c.func('void *memcpy(_Out_ uint8_t *into, const void *from, size_t length)');
    const release = c.func('void free(void *pointer)');
    return {
      ...(Object.fromEntries(declared) as Calls & Texts),
      connect: (transport) => ({
        pull: koffi.register(transport.pull, 'LinkholdPull *'),
        push: koffi.register(transport.push, 'LinkholdPush *'),
        poll: koffi.register(transport.poll, 'LinkholdPoll *'),
        extensionReceived: koffi.register(
          transport.extensionReceived,
          'LinkholdExtensionReceived *',
        ),
        sendExtension: koffi.register(transport.sendExtension, 'LinkholdSendExtension *'),
      }),
      read: (from, length) => {
        const bytes = new Uint8Array(length);
        copyOut(bytes, from, length);
        return bytes;
      },
      write: (into, bytes) => copyIn(into, bytes, bytes.length),
      text: (text) => {
        const bytes = Buffer.from(`${text}\0`);
        const into = koffi.alloc('char', bytes.length) as Pointer;
        copyIn(into, bytes, bytes.length);
        return into;
      },
      free: (pointer) => koffi.free(pointer),
      release: (pointer) => release(pointer),
    };
  } catch (error) {
    const mend =
      'install GnuTLS 3.7 or later (Debian: libgnutls30, or libgnutls30t64; Fedora: gnutls)';
    const cause = (error as Error).message.split('\n')[0];
    return new SystemError(
      'gnutls-missing',
      `libgnutls.so.30 cannot be loaded (${cause}); ${mend}`,
    );
  }
}
