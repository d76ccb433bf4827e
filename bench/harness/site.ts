/** The web server that clients of a bench call: it says who answers, and when it is ready. */
import type { ImageSource } from '../../src/lab/images.js';
import { nginxImage } from '../../src/lab/images.js';
import { gracefulImage } from '../../test/support/graceful-image.js';
import type { ManagedLab } from '../../test/support/managed-lab.js';

export const site = { name: 'site', port: 8080, image: 'skep/site:bench', bulkPath: '/bulk' } as const;

const manager = 'node1';
const deadlineMs = 600_000;
/** Of the file at `site.bulkPath`. */
export const bulkBytes = 4 * 2 ** 20;

/** One process that answers with its host's name, and with megabytes. @param directory where it may write, and has `bulk` */
export const nginxConf = (directory: string, isDaemon = true): string => `user root;
daemon ${isDaemon ? 'on' : 'off'};
master_process off;
pid ${directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; multi_accept on; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  sendfile on;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  server {
    listen 80 backlog=4096;
    location / { return 200 "$hostname $remote_addr $server_addr\\n"; }
    location = ${site.bulkPath} { root ${directory}; }
  }
}`;

export const siteImage: ImageSource = {
  ...nginxImage,
  names: [site.image],
  files: {
    ...nginxImage.files,
    'etc/nginx/nginx.conf': nginxConf('/run', false),
    [`run${site.bulkPath}`]: '\0'.repeat(bulkBytes),
  },
};

/** A server that a site may have, and how it is told to stop. */
interface SiteServer {
  readonly source: ImageSource;
  readonly stopSignal: string;
}

export const siteServers = {
  /** Quick. Told to stop, it ends what it has begun, and closes connections on which a request may be on its way. */
  nginx: { source: siteImage, stopSignal: 'SIGQUIT' },
  /** No request fails because it stops. */
  graceful: { source: gracefulImage, stopSignal: 'SIGTERM' },
} as const satisfies Record<string, SiteServer>;

/**
 * Healthy when it answers, looked at a second after it started and every second until it does. From then on a look lasts half a
 * minute: engines of this age have one interval for both (`--health-start-interval` came with Docker 25), and a process that is
 * started in each container every second would be most of what guests do.
 */
const health = [
  `--health-cmd 'wget -q -O /dev/null http://127.0.0.1/ && if [ -e /tmp/well ]; then sleep 30; else touch /tmp/well; fi'`,
  '--health-interval 1s --health-timeout 60s --health-retries 10',
].join(' ');

/** Makes it and waits until all its tasks are healthy. @param options words for `docker service create` */
export async function createSite(
  lab: ManagedLab,
  { source, stopSignal }: SiteServer,
  replicas: number,
  options: string,
): Promise<void> {
  await lab.loadImage(source);
  const published = `--replicas ${replicas} --publish ${site.port}:80`;
  // An imported image can have neither.
  const life = `--stop-signal ${stopSignal} ${health}`;
  await lab.sh(
    manager,
    `docker service create --quiet --detach=false --no-resolve-image --name ${site.name} ${published} ${life} ${options} ${source.names[0]}`,
    deadlineMs,
  );
}
