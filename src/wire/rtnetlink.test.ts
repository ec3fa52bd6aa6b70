import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../test/support/mutate.ts';
import { formatPrefix, type Prefix, parsePrefix } from './ip-address.ts';
import { decodeNetlink, type NetlinkMessage } from './netlink.ts';
import {
  decodeDevice,
  decodeDeviceName,
  decodeLoss,
  decodeRoute,
  encodeDeleteRoute,
  encodeDeviceQuestion,
  encodeListRoutes,
  encodeLookup,
  encodePutRoute,
  encodeRightsQuestion,
  isV4Prefix,
  type Route,
  RTM_NEWROUTE,
} from './rtnetlink.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const written = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const viewOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const prefix = (text: string) => parsePrefix(text) as Prefix;

/** All of a kernel 6.18. A default route as `ip route add default via 10.1.1.1 dev wan0` made it. */
const DEFAULT = hex(`34000000 1800 2200 01000000 085e0000 · 02 00 00 00 fe 03 00 01 00000000
  0800 0f00 fe000000 · 0800 0500 0a010101 · 0800 0400 03000000`);
/** `192.0.2.0/24 via 10.1.1.1 table 1000 metric 7 proto 76`: the table is too large for its byte. */
const OTHER_TABLE = hex(`44000000 1800 2200 01000000 085e0000 · 02 18 00 00 fc 4c 00 01 00000000
  0800 0f00 e8030000 · 0800 0100 c0000200 · 0800 0600 07000000 · 0800 0500 0a010101 · 0800 0400 03000000`);
/** `198.51.100.0/24` with two next hops, behind RTA_MULTIPATH. */
const TWO_HOPS = hex(`50000000 1800 2200 01000000 085e0000 · 02 18 00 00 fe 03 00 01 00000000
  0800 0f00 fe000000 · 0800 0100 c6336400 · 2400 0900 1000000003000000 080005000a010101
  1000000003000000 080005000a010107`);
const BLACKHOLE = hex(`2c000000 1800 2200 01000000 085e0000 · 02 18 00 00 fe 03 00 06 00000000
  0800 0f00 fe000000 · 0800 0100 cb007100`);
/** `default via fd00::1 dev wan0 metric 1 proto 76`, with RTA_CACHEINFO and RTA_PREF behind. */
const DEFAULT_6 = hex(`74000000 1800 2200 01000000 085e0000 · 0a 00 00 00 fe 4c 00 01 00000000
  0800 0f00 fe000000 · 0800 0600 01000000 · 1400 0500 fd000000000000000000000000000001
  0800 0400 03000000 · 2400 0c00 ${'00'.repeat(32)} · 0500 1400 00 000000`);
/** The way to 10.1.1.1, and the address of ours it starts from. */
const LOOKED_UP = hex(`68000000 1800 0000 01000000 085e0000 · 02 20 00 00 fe 00 00 01 00020000
  0800 0f00 fe000000 · 0800 0100 0a010101 · 0800 0400 03000000 · 0800 0700 0a010102
  0800 1900 00000000 · 2400 0c00 02000000 ${'00'.repeat(28)}`);
/** RTM_NEWLINK of wan0, number 3, cut behind its first attributes, and RTM_DELADDR of the same. */
const DEVICE = hex(`2c000000 1000 0000 01000000 085e0000 · 0000 0100 03000000 43100100 00000000
  0900 0300 77616e3000 000000`);
const ADDRESS_GONE = hex(`50000000 1500 0000 8e83056b 2c5e0000 · 02 18 80 00 03000000
  0800 0100 0a010102 · 0800 0200 0a010102 · 0900 0300 77616e3000 000000 · 0800 0800 80000000
  1400 0600 fffffffffffffffffa031a00fa031a00`);
/** The first without IFF_UP, and as RTM_DELLINK. */
const DEVICE_DOWN = DEVICE.with(24, 0x42);
const DEVICE_GONE = DEVICE.with(4, 0x11);
/** RTM_DELROUTE: news, but of no device. */
const ROUTE_GONE = hex(`3c000000 1900 0000 00000000 00000000 · 02 18 00 00 fe 02 fd 01 00000000
  0800 0f00 fe000000 · 0800 0100 0a010100 · 0800 0700 0a010102 · 0800 0400 03000000`);
const CAPTURED = [DEFAULT, OTHER_TABLE, TWO_HOPS, BLACKHOLE, DEFAULT_6, LOOKED_UP];

function first(bytes: Uint8Array): NetlinkMessage {
  const [message] = decodeNetlink(viewOf(bytes));
  assert(message !== undefined);
  return message;
}

function route(bytes: Uint8Array): Omit<Route, 'destination'> & { destination: string } {
  const { from, to } = first(bytes);
  const decoded = decodeRoute(viewOf(bytes), from, to);
  return { ...decoded, destination: formatPrefix(decoded.destination) };
}

const MAIN = { table: 254, metric: 0, protocol: 3, type: 1, tos: 0, source: undefined };

suite('routes of the kernel', () => {
  test('a default route of IPv4 and of IPv6', () => {
    const v4 = { ...MAIN, destination: '0.0.0.0/0', gateway: '10.1.1.1', device: 3 };
    assert.deepEqual(route(DEFAULT), v4);
    const v6 = { ...MAIN, destination: '::/0', gateway: 'fd00::1', device: 3 };
    assert.deepEqual(route(DEFAULT_6), { ...v6, metric: 1, protocol: 76 });
  });

  test('a table above 255 is in an attribute, beside 252 in its byte', () => {
    assert.deepEqual(route(OTHER_TABLE), {
      ...MAIN,
      destination: '192.0.2.0/24',
      table: 1000,
      metric: 7,
      protocol: 76,
      gateway: '10.1.1.1',
      device: 3,
    });
    const withoutAttribute = DEFAULT.with(20, 77).with(30, 99);
    assert.equal(route(withoutAttribute).table, 77);
  });

  test('two next hops are none, and a blackhole is no ordinary route', () => {
    const many = { ...MAIN, destination: '198.51.100.0/24', gateway: undefined, device: 0 };
    assert.deepEqual(route(TWO_HOPS), many);
    assert.equal(route(BLACKHOLE).type, 6);
  });

  test('a looked-up way has the address it starts from', () => {
    const { destination, source, gateway } = route(LOOKED_UP);
    assert.deepEqual([destination, source, gateway], ['10.1.1.1', '10.1.1.2', undefined]);
  });

  test('a strange family, a prefix too long and a cut message are DecodeErrors', () => {
    for (const [bytes, code] of [
      [DEFAULT.with(16, 7), 'bad-family'],
      [DEFAULT.with(17, 33), 'bad-prefix'],
      [DEFAULT_6.with(17, 129), 'bad-prefix'],
    ] as const) {
      assert.throws(() => route(bytes), { name: 'DecodeError', code });
    }
    const view = viewOf(DEFAULT);
    assert.throws(() => decodeRoute(view, 16, 27), { code: 'cut-short' });
    assert.throws(() => decodeRoute(view, 16, DEFAULT.length + 1), { code: 'cut-short' });
  });

  test('news of a device and of its address name it; those of a route name none', () => {
    assert.equal(decodeDevice(viewOf(DEVICE), first(DEVICE)), 3);
    assert.equal(decodeDeviceName(viewOf(DEVICE), first(DEVICE)), 'wan0');
  });

  test('a device that is down, gone or has an address less may have lost routes, and no other', () => {
    for (const [message, device] of [
      [DEVICE_DOWN, 3],
      [DEVICE_GONE, 3],
      [ADDRESS_GONE, 3],
      [ADDRESS_GONE.with(4, 0x14), undefined],
      [DEVICE, undefined],
      [ROUTE_GONE, undefined],
    ] as const) {
      assert.equal(decodeLoss(viewOf(message), first(message)), device);
    }
  });

  test('mutants are read or refused, and nothing else', () => {
    const { refused } = fuzz([...CAPTURED, DEVICE, DEVICE_DOWN, ADDRESS_GONE], 4_000, (bytes) => {
      const view = viewOf(bytes);
      for (const message of decodeNetlink(view)) {
        if (message.type === RTM_NEWROUTE) decodeRoute(view, message.from, message.to);
        else if (decodeLoss(view, message) === undefined) decodeDevice(view, message);
        else assert(decodeDeviceName(view, message).length <= 16);
      }
    });
    assert(refused > 400, `${refused} refused`);
  });
});

suite('what the kernel is asked', () => {
  const uplink = { destination: prefix('0.0.0.0/0'), table: 254, metric: 0, protocol: 76 };

  test('a default route in front, in place of another, and away, as the kernel lists it', () => {
    const asked = { ...uplink, gateway: '10.1.1.1', device: 3 };
    const attributes = '08000f00fe000000080005000a0101010800040003000000';
    const put = (flags: string) => `340000001800${flags}0100000000000000020000000`;
    const front = written(encodePutRoute(asked, 'front'));
    assert.equal(front, `${put('0504')}04c000100000000${attributes}`);
    const replace = written(encodePutRoute(asked, 'replace'));
    assert.equal(replace, `${put('0501')}04c000100000000${attributes}`);
    const alone = written(encodePutRoute(asked, 'alone'));
    assert.equal(alone, `${put('0506')}04c000100000000${attributes}`);
    const away = written(encodeDeleteRoute(asked));
    assert.equal(
      away,
      `34000000190005000100000000000000${'02000000004cff0100000000'}${attributes}`,
    );
  });

  test('what is put is read back as it was asked, in both families, tables and metrics', () => {
    for (const [destination, gateway, table, metric, device] of [
      ['0.0.0.0/0', '10.1.1.1', 254, 0, 0],
      ['10.0.0.0/8', undefined, 0xffff_ffff, 0xffff_ffff, 7],
      ['::/0', 'fe80::1', 254, 1, 9],
      ['2001:db8::/32', undefined, 100, 5, 2],
      ['2001:db8::1', 'fd00::1', 1, 5, 0],
    ] as const) {
      const asked = { destination: prefix(destination), gateway, table, metric, device };
      const bytes = encodePutRoute({ ...asked, protocol: 76 }, 'replace');
      const read = { ...asked, destination, protocol: 76, type: 1, tos: 0, source: undefined };
      assert.deepEqual(route(bytes), read);
    }
  });

  test('only a route of IPv4 without a gateway has the scope of a link', () => {
    const scope = (destination: string, gateway?: string) => {
      const asked = { ...uplink, destination: prefix(destination), gateway, device: 3 };
      return encodePutRoute(asked, 'front')[22];
    };
    assert.deepEqual(
      [scope('0.0.0.0/0'), scope('0.0.0.0/0', '10.1.1.1'), scope('::/0')],
      [253, 0, 0],
    );
  });

  test('a table, a way, a device by name and by number', () => {
    const list = '240000001a000103010000000000000002000000000000000000000008000f00e8030000';
    assert.equal(written(encodeListRoutes(true, 1_000)), list);
    const lookup = '240000001a0005000100000000000000022000000000000000000000080001000a010101';
    assert.equal(written(encodeLookup('10.1.1.1', 0)), lookup);
    assert.match(written(encodeLookup('fd00::1', 3)), /^38.*14000100fd0{29}10800040003000000$/);
    const name =
      '2c00000012000500010000000000000000000000000000000000000000000000' +
      '0900030077616e3000000000';
    assert.equal(written(encodeDeviceQuestion('wan0')), name);
    assert.match(written(encodeDeviceQuestion(3)), /^20000000120005.{18}0{8}03000000/);
    assert.equal(written(encodeRightsQuestion()), '1400000018000500010000000000000002000000');
  });

  test('::ffff:0:0/96 and what is in it is IPv4; ::/0 and ::/95 are not', () => {
    const is = (text: string) => isV4Prefix(prefix(text));
    assert.deepEqual(['0.0.0.0/0', '10.0.0.0/8', '::/0', '::/95'].map(is), [
      true,
      true,
      false,
      false,
    ]);
  });
});
