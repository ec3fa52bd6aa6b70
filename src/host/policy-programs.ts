/**
 * The two BPF programs of a policy for a control group. `sock_ops` sets a connection's keepalive at
 * the moment it is established, made or accepted; `setsockopt` swallows what a program itself would
 * change later, for rules that lock: the call succeeds and does nothing. Both look a rule up as
 * `matchRule` does.
 * @module
 */
import { BpfProgram } from '../wire/bpf-program.ts';
import { LOCK_FLAG, PORT_BITS, RULE_KEY_LENGTH, RULE_VALUE } from './rule.ts';

const HELPER = { mapLookup: 1, setsockopt: 49 } as const;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;

/** `struct bpf_sock_ops`. */
const OPS = {
  op: 0,
  family: 20,
  remoteIp4: 24,
  remoteIp6: 32,
  remotePort: 64,
  localPort: 68,
} as const;
const ACTIVE_ESTABLISHED = 4;
const PASSIVE_ESTABLISHED = 5;
/** `struct bpf_sockopt`. */
const SOCKOPT = { socket: 0, level: 24, name: 28, length: 32 } as const;
/** `struct bpf_sock`. */
const SOCK = {
  family: 4,
  protocol: 12,
  sourcePort: 44,
  remotePort: 48,
  remoteIp4: 52,
  remoteIp6: 56,
} as const;

const [STACK, CONTEXT, RULE, ERRORS, SOCKET] = [10, 6, 7, 8, 9] as const;
const KEY = -RULE_KEY_LENGTH;
const KEY_PORT = KEY + 4;
const KEY_ADDRESS = KEY + 8;
const VALUE = KEY - 8;
const MAPPED_V4 = 0xffff_0000 | 0;

/** Where a context tells of the other end. */
interface Remote {
  readonly from: 6 | 9;
  readonly family: number;
  readonly ip4: number;
  readonly ip6: number;
}

/** Answers 1 whatever happens: the connection goes on. */
export function applyProgram(rules: number): BpfProgram {
  const program = new BpfProgram()
    .copy(CONTEXT, 1)
    .load(4, 1, CONTEXT, OPS.op)
    .jumpIf(1, '==', ACTIVE_ESTABLISHED, 'established')
    .jumpIf(1, '!=', PASSIVE_ESTABLISHED, 'done')
    .label('established');
  const { family, remoteIp4: ip4, remoteIp6: ip6 } = OPS;
  putAddress(program, { from: CONTEXT, family, ip4, ip6 });
  program.load(4, 1, CONTEXT, OPS.remotePort).fromNetwork(1, 32);
  lookUp(program, rules, () => program.load(4, 1, CONTEXT, OPS.localPort));
  program.set(ERRORS, 0);
  // The clock is started last, with its values in place.
  for (const [name, value] of [
    [TCP_KEEPINTVL, RULE_VALUE.interval],
    [TCP_KEEPCNT, RULE_VALUE.probes],
    [TCP_USER_TIMEOUT, RULE_VALUE.userTimeout],
    [TCP_KEEPIDLE, RULE_VALUE.time],
  ] as const) {
    program.load(4, 1, RULE, value).store(4, STACK, VALUE, 1);
    setOption(program, IPPROTO_TCP, name);
  }
  program.storeNumber(4, STACK, VALUE, 1);
  setOption(program, SOL_SOCKET, SO_KEEPALIVE);
  return program
    .set(1, 1)
    .jumpIf(ERRORS, '!=', 0, 'failed')
    .addAtomically(RULE, RULE_VALUE.applied, 1)
    .jump('done')
    .label('failed')
    .addAtomically(RULE, RULE_VALUE.failed, 1)
    .label('done')
    .exit(1);
}

/** Answers 1, and a length of −1 for what is to be swallowed. */
export function lockProgram(rules: number): BpfProgram {
  const program = new BpfProgram()
    .copy(CONTEXT, 1)
    .load(4, 1, CONTEXT, SOCKOPT.level)
    .load(4, 2, CONTEXT, SOCKOPT.name)
    .jumpIf(1, '==', IPPROTO_TCP, 'tcp')
    .jumpIf(1, '!=', SOL_SOCKET, 'done')
    .jumpIf(2, '==', SO_KEEPALIVE, 'ours')
    .jump('done')
    .label('tcp');
  for (const name of [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT]) {
    program.jumpIf(2, '==', name, 'ours');
  }
  program
    .jump('done')
    .label('ours')
    .load(8, SOCKET, CONTEXT, SOCKOPT.socket)
    .jumpIf(SOCKET, '==', 0, 'done')
    .load(4, 1, SOCKET, SOCK.protocol)
    .jumpIf(1, '!=', IPPROTO_TCP, 'done');
  const { family, remoteIp4: ip4, remoteIp6: ip6 } = SOCK;
  putAddress(program, { from: SOCKET, family, ip4, ip6 });
  // Not connected: there is nothing to match yet.
  program.load(2, 1, SOCKET, SOCK.remotePort).fromNetwork(1, 16).jumpIf(1, '==', 0, 'done');
  lookUp(program, rules, () => program.load(4, 1, SOCKET, SOCK.sourcePort));
  return program
    .load(4, 1, RULE, RULE_VALUE.flags)
    .jumpIf(1, '!=', LOCK_FLAG, 'done')
    .set(1, -1)
    .store(4, CONTEXT, SOCKOPT.length, 1)
    .label('done')
    .exit(1);
}

/** Puts the remote address into the key, IPv4 as ::ffff:a.b.c.d; other families are done with. */
function putAddress(program: BpfProgram, { from, family, ip4, ip6 }: Remote): void {
  const word = (index: number) => KEY_ADDRESS + 4 * index;
  program
    .load(4, 1, from, family)
    .jumpIf(1, '==', AF_INET, 'ipv4')
    .jumpIf(1, '!=', AF_INET6, 'done');
  for (const index of [0, 1, 2, 3]) {
    program.load(4, 1, from, ip6 + 4 * index).store(4, STACK, word(index), 1);
  }
  program
    .jump('address')
    .label('ipv4')
    .storeNumber(4, STACK, word(0), 0)
    .storeNumber(4, STACK, word(1), 0)
    .storeNumber(4, STACK, word(2), MAPPED_V4)
    .load(4, 1, from, ip4)
    .store(4, STACK, word(3), 1)
    .label('address')
    .storeNumber(4, STACK, KEY, PORT_BITS + 128);
}

/** Looks for a rule by the port in r1 (the remote one), by the local one, and by none. */
function lookUp(program: BpfProgram, rules: number, loadLocalPort: () => void): void {
  const look = () => {
    program
      .store(4, STACK, KEY_PORT, 1)
      .map(1, rules)
      .copy(2, STACK)
      .add(2, KEY)
      .call(HELPER.mapLookup)
      .jumpIf(0, '!=', 0, 'found');
  };
  look();
  loadLocalPort();
  look();
  program.set(1, 0);
  look();
  program.jump('done').label('found').copy(RULE, 0);
}

function setOption(program: BpfProgram, level: number, name: number): void {
  program.copy(1, CONTEXT).set(2, level).set(3, name).copy(4, STACK).add(4, VALUE).set(5, 4);
  program.call(HELPER.setsockopt).or(ERRORS, 0);
}
