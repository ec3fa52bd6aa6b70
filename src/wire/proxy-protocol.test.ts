import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { encodeProxyHeader } from './proxy-protocol.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

const V4 = {
  source: { address: '192.168.0.1', port: 56_324 },
  destination: { address: '192.168.0.11', port: 443 },
};
const V6 = {
  source: { address: 'fd00::1', port: 4_124 },
  destination: { address: 'fd00::2', port: 443 },
};

suite('PROXY protocol', () => {
  test('version 1 is the line of the specification, for both families', () => {
    const v4 = 'PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n';
    assert.equal(text(encodeProxyHeader('v1', V4)), v4);
    assert.equal(text(encodeProxyHeader('v1', V6)), 'PROXY TCP6 fd00::1 fd00::2 4124 443\r\n');
  });

  test('version 2: signature, version and command, family, length, addresses, ports', () => {
    const v4 = `0d0a0d0a000d0a515549540a2111000cc0a80001c0a8000bdc0401bb`;
    assert.equal(hex(encodeProxyHeader('v2', V4)), v4);
    const [one, two] = [`fd00${'00'.repeat(13)}01`, `fd00${'00'.repeat(13)}02`];
    const v6 = `0d0a0d0a000d0a515549540a21210024${one}${two}101c01bb`;
    assert.equal(hex(encodeProxyHeader('v2', V6)), v6);
  });

  test('datagrams are told apart in version 2', () => {
    assert.equal(encodeProxyHeader('v2', { ...V4, datagram: true })[13], 0x12);
  });

  test('ends of two families are both written as IPv6', () => {
    const mixed = { source: V4.source, destination: V6.destination };
    const line = 'PROXY TCP6 ::ffff:192.168.0.1 fd00::2 56324 443\r\n';
    assert.equal(text(encodeProxyHeader('v1', mixed)), line);
    assert.equal(encodeProxyHeader('v2', mixed)[13], 0x21);
  });

  test('an address that is none is UNKNOWN, or UNSPEC', () => {
    const nobody = { source: { address: '', port: 0 }, destination: V4.destination };
    assert.equal(text(encodeProxyHeader('v1', nobody)), 'PROXY UNKNOWN\r\n');
    assert.equal(hex(encodeProxyHeader('v2', nobody)), '0d0a0d0a000d0a515549540a21000000');
  });
});
