/**
 * Images of services by clients that cannot ask for a digest: an endpoint for it came with API 1.30, and until then the daemon did it.
 * So it does still, for them alone; every newer client asks first and sends what it was told.
 */
import type { ContainerSpec } from '../../model/service-spec.js';
import type { EngineClient } from './engine-client.js';
import { isImageReference, pinned } from './image-reference.js';
import type { Minor } from './versions.js';

/** The first minor whose clients ask for digests themselves. */
const firstMinorThatAsks: Minor = 30;

export interface ImageChoice {
  readonly image: string;
  readonly warnings: readonly string[];
}

/** Swarm's words, line breaks and all. */
const notFound = (image: string): string =>
  `image ${image} could not be accessed on a registry to record\nits digest. Each node will access ${image} independently,\n` +
  'possibly leading to different nodes running different\nversions of the image.\n';

/** What is stored for the image that was sent: the same, or for an old client the one that its tag names in the registry now. */
export async function chooseImage(
  engine: Pick<EngineClient, 'get'>,
  { minor, signal }: { readonly minor: Minor; readonly signal: AbortSignal },
  { image, registryAuth }: Pick<ContainerSpec, 'image' | 'registryAuth'>,
): Promise<ImageChoice> {
  const isPinned = image.includes('@');
  if (minor >= firstMinorThatAsks || isPinned || !isImageReference(image)) return { image, warnings: [] };
  const headers = registryAuth === undefined ? {} : { 'X-Registry-Auth': registryAuth };
  const found = await engine
    .get<{ readonly Descriptor?: { readonly digest?: string } }>(
      `/distribution/${image}/json`,
      signal,
      headers,
    )
    .catch(() => undefined);
  signal.throwIfAborted();
  const digest = found?.Descriptor?.digest;
  return digest === undefined
    ? { image, warnings: [notFound(image)] }
    : { image: pinned(image, digest), warnings: [] };
}
