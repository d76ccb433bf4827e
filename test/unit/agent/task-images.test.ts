import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { TaskImages, withPullFailure } from '../../../src/controlplane/agent/task-images.js';
import { EngineError } from '../../../src/controlplane/dockerd/client.js';

const digest = `sha256:${'a'.repeat(64)}`;
const unauthorized = 'Head "https://r.example/v2/app/manifests/1": no basic auth credentials';

/** A node with these images and a registry that gives all or refuses; and what it was asked. */
function node(present: readonly string[], refusal?: string, preferOffline = false) {
  const pulled: (string | undefined)[][] = [];
  const images = new TaskImages({
    engine: {
      hasImage: async (reference) => present.includes(reference),
      pull: async (reference, auth) => {
        pulled.push([reference, auth]);
        if (refusal !== undefined) throw new EngineError(refusal, 500);
      },
    },
    preferOffline,
    log: pino({ enabled: false }),
  });
  return { images, pulled };
}
const { signal } = new AbortController();

describe.each<[string, string, readonly string[], boolean, readonly string[]]>([
  ['a tag that is not here', 'app:1', [], false, ['app:1']],
  ['no tag', 'app', [], false, ['app:latest']],
  ['a tag that is here, and may name another image by now', 'app:1', ['app:1'], false, ['app:1']],
  ['a digest that is not here', `app:1@${digest}`, [], false, [`app:1@${digest}`]],
  ['a digest that is here', `app:1@${digest}`, [`app:1@${digest}`], false, []],
  ['the id of an image', 'a'.repeat(64), ['a'.repeat(64)], false, []],
  ['offline: a tag that is here', 'app:1', ['app:1'], true, []],
  ['offline: a tag that is not here', 'app:1', [], true, ['app:1']],
])('%s', (_what, image, present, preferOffline, asked) => {
  test('is pulled with the credentials of the task, or not at all', async () => {
    const { images, pulled } = node(present, undefined, preferOffline);
    expect(await images.provide({ image, registryAuth: 'secret' }, signal)).toBeNull();
    expect(pulled).toEqual(asked.map((reference) => [reference, 'secret']));
  });
});

test('what the registry refuses is told, and throws nothing: the image may be here', async () => {
  const { images } = node(['app:1'], unauthorized);
  expect(await images.provide({ image: 'app:1' }, signal)).toBe(unauthorized);
});

test('who gives up waiting hears of that alone', async () => {
  const { images } = node([], 'context canceled');
  await expect(images.provide({ image: 'app:1' }, AbortSignal.abort(new Error('stopped')))).rejects.toThrow(
    'stopped',
  );
});

test('a missing image is told with why it could not be pulled; any other failure as it is', () => {
  const missing = new EngineError('No such image: app:1', 404);
  expect(withPullFailure(missing, unauthorized)).toMatchObject({
    message: `No such image: app:1: ${unauthorized}`,
    statusCode: 404,
    retryable: false,
  });
  const conflict = new EngineError('in use', 409);
  expect(withPullFailure(conflict, unauthorized)).toBe(conflict);
  expect(withPullFailure(missing, null)).toBe(missing);
});
