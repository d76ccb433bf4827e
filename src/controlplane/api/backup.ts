/**
 * `/skep/backup` and `/skep/restore`: for the `skep` command on this host. The passphrase comes in the body, and what leaves is
 * sealed with it.
 */
import { once } from 'node:events';
import { SkepError } from '../../model/errors.js';
import { decide } from '../../runtime/decide.js';
import { backupHead, backupLines, parseBackup } from '../backup/backup-content.js';
import { openBackup, sealBackup } from '../backup/backup-file.js';
import type { Handler } from './context.js';
import { notManager } from './context.js';
import { field, struct, text } from './convert/codec.js';
import type { RestoreRequest } from './swarm-control.js';

/** A guess costs some tenths of a second; shorter ones can be tried through. */
const passphraseLengthMin = 8;
/** Of a file: the store's quota is twice that, and holds history, seals and names besides. */
const backupBytesMax = 1024 * 1024 * 1024;

const backupRequest = struct<{ readonly passphrase: string }>('BackupRequest', {
  passphrase: field('Passphrase', text),
});
const restoreRequest = struct<RestoreRequest & { readonly passphrase: string }>('RestoreRequest', {
  passphrase: field('Passphrase', text),
  listenAddr: field('ListenAddr', text),
  advertiseAddr: field('AdvertiseAddr', text),
  dataPathAddr: field('DataPathAddr', text),
});

/** Also where nobody leads: what this manager has is worth having just then. */
export const takeBackup: Handler = async (context, request) => {
  const { passphrase } = await request.decode(backupRequest);
  const { store, nodeId } = context.control.membership();
  if (!store || nodeId === '') throw notManager(context.control);
  if (passphrase.length < passphraseLengthMin)
    throw new SkepError(
      'invalidArgument',
      `the passphrase must have at least ${passphraseLengthMin} characters`,
    );
  const view = store.view();
  const head = backupHead(view, nodeId, context.clock.nowMs());
  const pieces = await sealBackup(backupLines(view, head), passphrase, context.random);
  const { reply, signal } = request;
  reply.setHeader('Content-Type', 'application/octet-stream');
  reply.setHeader('Skep-Backup', JSON.stringify(head));
  reply.writeHead(200);
  for (const piece of pieces) {
    if (signal.aborted) return;
    if (!reply.write(piece)) await Promise.race([once(reply, 'drain'), once(reply, 'close')]);
  }
  reply.end();
  const { revision, objects } = head;
  decide(context.log, 'backup.taken', { revision, objects }, { trace: context.trace?.traceId });
};

/** The body is one line of JSON, then the file. */
export const restoreBackup: Handler = async (context, request) => {
  const body = await request.body(backupBytesMax);
  const end = body.indexOf(10);
  const { passphrase, ...addresses } = request.decodeBody(restoreRequest, body.subarray(0, Math.max(0, end)));
  const backup = parseBackup(await openBackup(body.subarray(end + 1), passphrase));
  const nodeId = await context.control.restoreSwarm(backup, addresses);
  const { revision, objects } = backup.head;
  decide(context.log, 'swarm.restored', { revision, objects, by: nodeId }, { trace: context.trace?.traceId });
  request.json(200, { ...backup.head, nodeId });
};
