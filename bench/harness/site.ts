/** The service that clients of a bench call: it says who answers, when it is ready, and ends what it has begun when told to stop. */
import { nginxImage } from '../../src/lab/images.js';
import type { ManagedLab } from '../../test/support/managed-lab.js';

export const site = { name: 'site', port: 8080, image: 'skep/site:bench' } as const;

const manager = 'node1';
const deadlineMs = 600_000;

/** Makes it and waits until all its tasks are healthy. @param options words for `docker service create` */
export async function createSite(lab: ManagedLab, replicas: number, options: string): Promise<void> {
  await lab.loadImage({
    ...nginxImage,
    names: [site.image],
    changes: [
      ...nginxImage.changes,
      'STOPSIGNAL SIGQUIT',
      'HEALTHCHECK --interval=2s --timeout=20s --retries=10 CMD ["/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"]',
    ],
  });
  const published = `--replicas ${replicas} --publish ${site.port}:80`;
  await lab.sh(
    manager,
    `docker service create --quiet --detach=false --no-resolve-image --name ${site.name} ${published} ${options} ${site.image}`,
    deadlineMs,
  );
}
