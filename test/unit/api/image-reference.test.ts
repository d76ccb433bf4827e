import { expect, test } from 'vitest';
import { pinned } from '../../../src/controlplane/api/image-reference.js';

// Forms as distribution/reference's FamiliarString has them.
test.each([
  ['nginx', 'nginx:latest'],
  ['nginx:1.25', 'nginx:1.25'],
  ['library/nginx', 'nginx:latest'],
  ['docker.io/library/nginx:1', 'nginx:1'],
  ['index.docker.io/library/nginx', 'nginx:latest'],
  ['docker.io/me/app', 'me/app:latest'],
  ['me/app:2', 'me/app:2'],
  ['library/a/b', 'library/a/b:latest'],
  ['registry.example.org:5000/library/app', 'registry.example.org:5000/library/app:latest'],
  ['localhost/app:3', 'localhost/app:3'],
])('%s is pinned as %s', (image, name) => {
  expect(pinned(image, 'sha256:1')).toBe(`${name}@sha256:1`);
});
