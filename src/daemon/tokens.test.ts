/** Tokens with names: kept as hashes, valid at once, gone at once. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, test } from 'node:test';
import { temporaryDirectory } from '../../test/support/cli.ts';
import { addToken, readTokens, removeToken, Tokens } from './tokens.ts';

suite('tokens', () => {
  test('the file is for its owner only, and holds no token', (t) => {
    const directory = path.join(temporaryDirectory(t), 'state');
    const text = addToken(directory, 'grafana', 'read');
    assert.match(text, /^[\da-f]{64}$/);
    const file = path.join(directory, 'tokens.json');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    assert(!readFileSync(file, 'utf8').includes(text));
    assert.deepEqual(
      readTokens(directory).map(({ name, scope }) => [name, scope]),
      [['grafana', 'read']],
    );
  });

  test('a running daemon knows a token as soon as it is made, and until it is removed', (t) => {
    const directory = temporaryDirectory(t);
    const tokens = new Tokens(directory, 'the-first');
    assert.equal(tokens.find('x'), undefined);
    const text = addToken(directory, 'a', 'read');
    assert.deepEqual(tokens.find(text), { name: 'a', scope: 'read' });
    assert.deepEqual(tokens.named('a'), { name: 'a', scope: 'read' });
    const other = addToken(directory, 'b', 'operate');
    assert.deepEqual(tokens.find(other), { name: 'b', scope: 'operate' });
    removeToken(directory, 'a');
    assert.equal(tokens.find(text), undefined);
    assert.equal(tokens.named('a'), undefined);
    assert.deepEqual(tokens.find('the-first'), { name: 'first', scope: 'operate' });
  });

  test('names are names, each once, and what is not there cannot be removed', (t) => {
    const directory = temporaryDirectory(t);
    addToken(directory, 'a', 'read');
    for (const name of ['', 'a b', '../x', 'x'.repeat(65), 'a', 'first', '__proto__']) {
      assert.throws(() => addToken(directory, name, 'read'), { code: 'bad-name' });
    }
    assert.throws(() => removeToken(directory, 'b'), { code: 'bad-name' });
    assert.equal(readTokens(directory).length, 1);
  });

  test('while somebody else changes the file nobody does, and a refused change leaves nothing', (t) => {
    const directory = temporaryDirectory(t);
    addToken(directory, 'a', 'read');
    assert.throws(() => addToken(directory, 'a', 'read'), { code: 'bad-name' });
    assert.deepEqual(readdirSync(directory), ['tokens.json']);
    writeFileSync(path.join(directory, 'tokens.json.new'), '');
    assert.throws(() => addToken(directory, 'b', 'read'), { code: 'EEXIST', message: /is there/ });
    assert.throws(() => removeToken(directory, 'a'), { code: 'EEXIST' });
    assert.equal(readTokens(directory).length, 1);
  });

  for (const text of [
    '',
    '{',
    '[]',
    '{"tokens":[{}]}',
    '{"tokens":[{"name":"a","scope":"root"}]}',
  ]) {
    test(`a damaged file (${text}) makes no token valid but the first, and is told`, (t) => {
      const directory = temporaryDirectory(t);
      const good = addToken(directory, 'a', 'operate');
      const tokens = new Tokens(directory, 'the-first');
      assert.equal(tokens.find(good)?.name, 'a');
      assert.equal(tokens.trouble, undefined);
      writeFileSync(path.join(directory, 'tokens.json'), text);
      assert.equal(tokens.find(good), undefined);
      assert.match(String(tokens.trouble), /tokens\.json: is damaged; mend or remove it$/);
      assert.equal(tokens.find('the-first')?.scope, 'operate');
      assert.throws(() => addToken(directory, 'b', 'read'), { code: 'bad-tokens' });
    });
  }
});
