/**
 * Parameters of the host's own network that Skep sets for everybody there: what they were before it first ran, kept on disk, and
 * put back when it is removed. Not among them is forwarding, which the engine turns on as well and goes on needing; those of
 * Skep's own devices go with the devices.
 */
import { readFile, rm } from 'node:fs/promises';
import { OutsideError } from '../model/errors.js';
import { writeFileAtomic } from '../runtime/atomic-file.js';

/** Paths below /proc/sys; a test compares them with what is planned. */
export const hostParameters: readonly string[] = [
  'net/ipv4/conf/all/rp_filter',
  'net/ipv4/conf/all/send_redirects',
  'net/ipv4/conf/lo/accept_local',
  'net/ipv4/conf/lo/route_localnet',
  'net/ipv4/conf/lo/rp_filter',
  'net/ipv4/vs/conntrack',
  'net/ipv4/vs/conn_reuse_mode',
  'net/ipv4/vs/expire_nodest_conn',
  'net/ipv4/vs/expire_quiescent_template',
  'net/ipv4/vs/sloppy_tcp',
];

/** /proc/sys. */
export interface Parameters {
  /** Null where the kernel has none, or its module is not loaded. */
  readonly read: (path: string) => string | null;
  readonly write: (path: string, value: string) => void;
}

interface HostFile {
  readonly formatVersion: 1;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Keeps what the parameters are now, unless something is kept already. Rejects with the file system's error. */
export async function rememberParameters(file: string, { read }: Parameters): Promise<void> {
  if ((await readOrNull(file)) !== null) return;
  const parameters = Object.fromEntries(
    hostParameters.flatMap((path) => {
      const value = read(path);
      return value === null ? [] : [[path, value]];
    }),
  );
  const content: HostFile = { formatVersion: 1, parameters };
  await writeFileAtomic(file, `${JSON.stringify(content, undefined, 2)}\n`);
}

/** Puts back what was kept, and forgets it; nothing where nothing was. Rejects with OutsideError for a damaged file. */
export async function restoreParameters(file: string, { read, write }: Parameters): Promise<void> {
  const text = await readOrNull(file);
  if (text === null) return;
  for (const [path, value] of Object.entries(parse(file, text).parameters)) {
    const now = read(path);
    if (now !== null && now !== value) write(path, value);
  }
  await rm(file, { force: true });
}

function parse(file: string, text: string): HostFile {
  try {
    const { formatVersion, parameters } = JSON.parse(text) as HostFile;
    const known = Object.entries(parameters).every(
      ([path, value]) => hostParameters.includes(path) && /^-?\d+$/.test(value),
    );
    if (formatVersion === 1 && known) return { formatVersion, parameters };
  } catch (cause) {
    throw new OutsideError(`${file} is damaged`, false, { cause });
  }
  throw new OutsideError(`${file} is damaged: it names what Skep does not set`, false);
}

async function readOrNull(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw err;
  }
}
