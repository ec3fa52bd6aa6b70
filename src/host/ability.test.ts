import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { SystemError } from '../sys/system-error.ts';
import { tryAbility } from './ability.ts';

const TRIAL = { name: 'fly', serves: 'birds', needs: 'CAP_WINGS' };

suite('an ability', () => {
  test('is there if the attempt succeeds, with what was found', async () => {
    const ability = await tryAbility({ ...TRIAL, attempt: async () => 'two wings' });
    const { name, serves } = TRIAL;
    assert.deepEqual(ability, {
      name,
      serves,
      essential: false,
      there: true,
      detail: 'two wings',
    });
  });

  for (const code of ['EPERM', 'EACCES']) {
    test(`refused with ${code} says what right it needs`, async () => {
      const attempt = () => {
        throw new SystemError(code, 'the kernel refused');
      };
      const { there, detail } = await tryAbility({ ...TRIAL, attempt });
      assert.deepEqual({ there, detail }, { there: false, detail: `${code}: it needs CAP_WINGS` });
    });
  }

  test('missing for another reason says that one, also of an error of Node', async () => {
    const attempt = () => readFileSync('/nowhere/at/all', 'utf8');
    const { there, detail } = await tryAbility({ ...TRIAL, attempt });
    assert.equal(there, false);
    assert.match(detail, /^ENOENT: .*\/nowhere\/at\/all/);
  });

  test('a mistake of ours is no missing ability', async () => {
    const attempt = () => {
      throw new TypeError('not a function');
    };
    await assert.rejects(tryAbility({ ...TRIAL, attempt }), TypeError);
  });
});
