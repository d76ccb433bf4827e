import { expect, test } from 'vitest';
import { built } from '../../../src/runtime/cleanup-stack.js';

class Resource implements AsyncDisposable {
  readonly done: string[] = [];

  async [Symbol.asyncDispose](): Promise<void> {
    this.done.push('undone');
  }
}

test('what is built is given, and whole', async () => {
  const resource = await built(new Resource(), async ({ done }) => void done.push('built'));
  expect(resource.done).toEqual(['built']);
});

test('what could not be built is undone, and the failure told', async () => {
  const resource = new Resource();
  const building = built(resource, async ({ done }) => {
    done.push('half built');
    throw new Error('no more');
  });
  await expect(building).rejects.toThrow('no more');
  expect(resource.done).toEqual(['half built', 'undone']);
});
