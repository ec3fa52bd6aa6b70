/**
 * A relay that speaks SMB 1 in the place of whoever connects: once the session is accepted it sends a
 * NEGOTIATE and an ECHO of SMB 1 (MS-CIFS sections 2.2.4.52, 2.2.4.39), and no message of the client. The
 * session request, keepalives, and all that the server sends pass. smbd sends its own NetBIOS
 * keepalives only on such connections. Arguments: the address to listen on, its port, the server's
 * address and port.
 * @module
 */
import net from 'node:net';
import {
  encodeNbssKeepalive,
  encodeNbssMessage,
  encodeSessionRequest,
  NbssReader,
} from '../../src/wire/nbss.ts';

const [address = '', port = '', server = '', serverPort = ''] = process.argv.slice(2);

/** A message of SMB 1: its header, then words and bytes as they are given. */
function smb1(command: number, treeId: number, body: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(32 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xff_53_4d_42);
  bytes[4] = command;
  bytes[9] = 0x18; // paths are canonical and without case
  view.setUint16(10, 0x4001, true); // long names, NT status codes
  view.setUint16(24, treeId, true);
  view.setUint16(26, 0xffff, true);
  bytes.set(body, 32);
  return encodeNbssMessage(bytes);
}

const dialect = [2, ...Buffer.from('NT LM 0.12\0')];
const NEGOTIATE = smb1(0x72, 0, [0, dialect.length, 0, ...dialect]);
const ECHO = smb1(0x2b, 0xffff, [1, 1, 0, 2, 0, 0x6c, 0x68]);

const listener = net.createServer((near) => {
  const far = net.connect({ host: server, port: Number(serverPort) });
  const reader = new NbssReader('netbios');
  far.on('data', (bytes: Uint8Array) => {
    near.write(bytes);
    for (const packet of reader.read(bytes)) {
      console.log(`server: ${packet.type}`);
      if (packet.type === 'positive') far.write(Buffer.concat([NEGOTIATE, ECHO]));
    }
  });
  const asked = new NbssReader('netbios');
  near.on('data', (bytes: Uint8Array) => {
    for (const packet of asked.read(bytes)) {
      if (packet.type === 'request') far.write(encodeSessionRequest(packet.called, packet.calling));
      if (packet.type === 'keepalive') far.write(encodeNbssKeepalive());
    }
  });
  near.on('error', () => undefined).on('close', () => far.destroy());
  far.on('error', () => undefined).on('close', () => near.destroy());
});
listener.listen(Number(port), address, () => console.log('listening'));
