import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { failureOf, meaningOf } from './endings.ts';

suite('ends of OpenVPN sessions', () => {
  for (const [message, reason, again, text] of [
    ['AUTH_FAILED', 'refused', 'when-mended', /refuses the login; look at auth-user-pass/],
    [
      'AUTH_FAILED,Data channel cipher negotiation failed',
      'refused',
      'when-mended',
      /\("Data channel/,
    ],
    ['AUTH_FAILED,SESSION:expired', 'refused', 'soon', /SESSION:expired/],
    ['RESTART', 'closed', 'when-left', /the server restarts/],
    ['RESTART,[N]going down', 'closed', 'when-left', /\("\[N\]going down"\)/],
    ['HALT', 'closed', 'when-mended', /asks its clients to stop/],
    ['EXIT', 'closed', 'when-left', /goodbye/],
  ] as const) {
    test(`${message}: ${reason}`, () => {
      const ending = meaningOf(message);
      assert.deepEqual([ending?.reason, ending?.again], [reason, again]);
      assert.match(ending?.text ?? '', text);
    });
  }

  test('other messages end nothing', () => {
    for (const message of ['PUSH_REPLY,ping 10', 'INFO,x', 'AUTH_PENDING', 'EXITING', '']) {
      assert.equal(meaningOf(message), undefined);
    }
  });

  test('what the server says is shown on one line, 120 characters at most', () => {
    const { text = '' } = meaningOf(`RESTART,a\nb\u001b[31m${'x'.repeat(500)}`) ?? {};
    assert(!/\p{C}/u.test(text) && text.length < 160, text);
  });

  for (const [code, reason] of [
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'not-authentic'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'not-authentic'],
    ['CERT_HAS_EXPIRED', 'not-authentic'],
    ['CERT_REVOKED', 'not-authentic'],
    ['INVALID_PURPOSE', 'not-authentic'],
    ['CERT_NOT_WANTED', 'not-authentic'],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'refused'],
    ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'refused'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'protocol-error'],
    ['', 'protocol-error'],
  ] as const) {
    test(`${code || 'an error without a code'}: ${reason}`, () => {
      const error = Object.assign(new Error('what; if the root CA …'), code === '' ? {} : { code });
      const failure = failureOf(error);
      assert.equal(failure.reason, reason);
      assert(!failure.text.includes('root CA'), failure.text);
    });
  }
});
