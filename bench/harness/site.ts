/** The web server that clients of a bench call: it says who answers, when it is ready, and ends what it has begun when told to stop. */
import type { ImageSource } from '../../src/lab/images.js';
import { nginxImage } from '../../src/lab/images.js';
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

/** Makes it and waits until all its tasks are healthy. @param options words for `docker service create` */
export async function createSite(lab: ManagedLab, replicas: number, options: string): Promise<void> {
  await lab.loadImage(siteImage);
  const published = `--replicas ${replicas} --publish ${site.port}:80`;
  // With SIGTERM nginx drops what it has begun. An imported image can have neither.
  const life =
    "--stop-signal SIGQUIT --health-cmd 'wget -q -O /dev/null http://127.0.0.1/' --health-interval 2s --health-timeout 20s --health-retries 10";
  await lab.sh(
    manager,
    `docker service create --quiet --detach=false --no-resolve-image --name ${site.name} ${published} ${life} ${options} ${site.image}`,
    deadlineMs,
  );
}
