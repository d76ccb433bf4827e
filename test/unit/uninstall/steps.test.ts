import { expect, test } from 'vitest';
import { runSteps } from '../../../src/uninstall/steps.js';

/** Steps by name; those of `failing` fail. */
async function run(names: readonly string[], failing: readonly string[]) {
  const done: string[] = [];
  const said: string[] = [];
  const steps = names.map((name) => ({
    failed: `${name} failed`,
    meaning: `no ${name}`,
    remedy: `mend ${name}`,
    run: async () => {
      done.push(name);
      if (failing.includes(name)) throw new Error('busy');
    },
  }));
  return { well: await runSteps(steps, (line) => said.push(line)), done, said };
}

test('all steps are done in order, and nothing is said', async () => {
  expect(await run(['a', 'b'], [])).toEqual({ well: true, done: ['a', 'b'], said: [] });
});

test('one that fails is told of, and those behind it are done', async () => {
  expect(await run(['a', 'b'], ['a'])).toEqual({
    well: false,
    done: ['a', 'b'],
    said: ['skep: a failed: busy', '  meaning: no a', '  to do:   mend a'],
  });
});
