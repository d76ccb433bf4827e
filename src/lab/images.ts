/**
 * The images of a lab, made from this machine's own files since a lab reaches no registry: a busybox, and an nginx that
 * says which container answered, which client it saw and on which address (`HOSTNAME CLIENT ADDRESS`).
 * An archive is made once per version of what goes in and kept below the cache directory.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
} from 'node:fs';
import { rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OutsideError } from '../model/errors.js';
import { hostCommand } from './host-command.js';
import { cacheDir } from './layout.js';

/** An archive of a root file system and how it is imported. */
export interface ImageArchive {
  /** The first one is imported, the others are tags of it. */
  readonly names: readonly string[];
  readonly path: string;
  /** Dockerfile instructions for `docker import --change`. */
  readonly changes: readonly string[];
}

export interface ImageSource {
  readonly names: readonly string[];
  readonly changes: readonly string[];
  /** Programs copied with the libraries they load. */
  readonly programs: readonly string[];
  /** Files copied to where they are here. */
  readonly copies?: readonly string[];
  readonly files: Readonly<Record<string, string>>;
}

const busybox = '/bin/busybox';
const applets =
  'sh cat cp date echo env false grep head hostname id ifconfig ip kill ls mkdir nc netstat nslookup ping ps rm route sed seq sleep sort tail test timeout top touch tr true uname uniq wc wget'.split(
    ' ',
  );

const accounts = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  'etc/nsswitch.conf': 'hosts: files dns\n',
};

// One process without a master: in user-mode Linux starting a process is what costs.
const nginxConf = `user root;
daemon off;
master_process off;
pid /run/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000;
  server {
    listen 80 backlog=4096;
    location / { return 200 "$hostname $remote_addr $server_addr\\n"; }
  }
}
`;

/** A web server that says which container answered whom. */
export const nginxImage: ImageSource = {
  names: ['skep/nginx:lab', 'skep/whoami:lab', 'nginx:latest'],
  changes: ['CMD ["/usr/sbin/nginx"]', 'EXPOSE 80', 'ENV PATH=/usr/sbin:/bin'],
  programs: ['/usr/sbin/nginx'],
  files: { ...accounts, 'etc/nginx/nginx.conf': nginxConf },
};

const sources: readonly ImageSource[] = [
  {
    names: ['skep/busybox:lab', 'busybox:latest'],
    changes: ['CMD ["sh"]', 'ENV PATH=/bin'],
    programs: [],
    files: accounts,
  },
  nginxImage,
];

const emptyDirs = ['proc', 'sys', 'dev', 'tmp', 'run', 'root', 'var/log/nginx', 'var/lib/nginx'];

/** The archives, made where they are missing. Throws OutsideError when a program they need is not installed. */
export async function ensureImages(): Promise<ImageArchive[]> {
  const archives: ImageArchive[] = [];
  for (const source of sources) archives.push(await ensureImage(source));
  return archives;
}

/** One archive. Throws as {@link ensureImages}. */
export async function ensureImage(source: ImageSource): Promise<ImageArchive> {
  const { names, changes, programs, copies = [], files } = source;
  const parts = [busybox, ...programs, ...copies];
  for (const part of parts)
    if (!existsSync(part))
      throw new OutsideError(`${part} is not installed`, false, {
        advice: {
          means: 'The images of a lab are made of programs of this machine, and this one is missing.',
          todo: 'Run scripts/setup.sh, which installs what is missing.',
        },
      });
  const versions = parts.map((path) => [path, statSync(path).size, statSync(path).mtimeMs]);
  const digest = createHash('sha256')
    .update(JSON.stringify([files, applets, emptyDirs, versions]))
    .digest('hex');
  const archive = { names, changes, path: join(cacheDir, `image-${digest.slice(0, 16)}.tar`) };
  if (existsSync(archive.path)) return archive;

  mkdirSync(cacheDir, { recursive: true });
  const work = mkdtempSync(join(cacheDir, 'making-'));
  try {
    const root = join(work, 'root');
    for (const dir of ['bin', ...emptyDirs]) mkdirSync(join(root, dir), { recursive: true });
    copyFileSync(busybox, join(root, 'bin/busybox'));
    for (const applet of applets) symlinkSync('busybox', join(root, 'bin', applet));
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    }
    const copy = (path: string, mode: number): void => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      copyFileSync(realpathSync(path), join(root, path));
      chmodSync(join(root, path), mode);
    };
    for (const path of copies) copy(path, 0o644);
    for (const program of programs)
      for (const path of [program, ...(await librariesOf(program))]) copy(path, 0o755);
    // Equal content gives an equal archive, hence the same image id on every node and in every lab.
    const tar = ['tar', '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
    await hostCommand([...tar, '-C', root, '-cf', join(work, 'image.tar'), '.']);
    renameSync(join(work, 'image.tar'), archive.path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return archive;
}

/** The shared objects a program is linked with, the loader included. */
async function librariesOf(program: string): Promise<string[]> {
  const listing = await hostCommand(['ldd', program]);
  return [...listing.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
}

/**
 * A shell script that loads the archives into the engine it is run beside. It asks the engine's API, not the CLI, which is a large
 * program: starting it once for each name is seconds in a guest.
 */
export function importScript(archives: readonly ImageArchive[]): string {
  const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
  const ask = (path: string, query: readonly [string, string][], rest = ''): string =>
    `ask ${quote(`http://d/v1.41/${path}?${new URLSearchParams(query)}`)}${rest}`;
  const lines = archives.flatMap(({ names: [name = '', ...tags], path, changes }) => [
    ask(
      'images/create',
      [['fromSrc', '-'], ...target(name), ...changes.map((change): [string, string] => ['changes', change])],
      ` -T ${quote(path)}`,
    ),
    ...tags.map((tag) => ask(`images/${name}/tag`, target(tag))),
  ]);
  // What fails while an image is made is told in an answer that had begun well.
  const head = `ask() {
  said=$(curl -sS --fail-with-body --unix-socket /run/docker.sock -X POST "$@") || { echo "$said" >&2; exit 1; }
  case $said in *errorDetail*) echo "$said" >&2; exit 1 ;; esac
}`;
  return [head, ...lines].join('\n');
}

/** `repo` and `tag` of a name that has a tag. */
function target(name: string): [string, string][] {
  const colon = name.lastIndexOf(':');
  return [
    ['repo', name.slice(0, colon)],
    ['tag', name.slice(colon + 1)],
  ];
}
