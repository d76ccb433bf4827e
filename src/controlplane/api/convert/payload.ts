/** Secrets and configs, and references to them, as tables. What a secret holds is read and never written. */
import type { ConfigId, SecretId } from '../../../model/ids.js';
import { SkepError, controlApiError } from '../../../model/errors.js';
import type { Config, Meta, Secret } from '../../../model/objects.js';
import type { PayloadSpec } from '../../../model/payloads.js';
import type { LogDriver, PayloadReference } from '../../../model/service-spec.js';
import {
  always,
  bytes,
  field,
  fileMode,
  hidden,
  labels,
  ptr,
  struct,
  text,
  time,
  uint64,
  via,
} from './codec.js';
import type { Codec, Decoding, Field, Fields } from './codec.js';

const driver = struct<LogDriver>('Driver', { name: field('Name', text), options: field('Options', labels) });

const specFields: Fields<PayloadSpec> = {
  name: field('Name', text),
  labels: always('Labels', labels),
  data: field('Data', bytes),
  templating: field('Templating', ptr(driver)),
};

/** As it is given: with what there is none of here. */
export interface SecretSpecRequest extends PayloadSpec {
  readonly driver?: LogDriver;
}

export const secretSpec = struct<SecretSpecRequest>('SecretSpec', {
  ...specFields,
  driver: field('Driver', ptr(driver)),
});

export const configSpec = struct<PayloadSpec>('ConfigSpec', specFields);

const meta = {
  version: field('Version.Index', uint64),
  createdAtMs: always('CreatedAt', time),
  updatedAtMs: always('UpdatedAt', time),
} satisfies { [K in keyof Meta]: Field<Meta[K]> };

export const secret = struct<Secret>('Secret', {
  id: always('ID', text as unknown as Codec<SecretId>),
  ...meta,
  spec: always('Spec', struct<PayloadSpec>('SecretSpec', { ...specFields, data: hidden('') })),
  trace: hidden(undefined),
});

export const config = struct<Config>('Config', {
  id: always('ID', text as unknown as Codec<ConfigId>),
  ...meta,
  spec: always('Spec', configSpec),
  trace: hidden(undefined),
});

type FileTarget = PayloadReference['file'];

const fileTarget = (name: string): Codec<FileTarget> =>
  struct<FileTarget>(name, {
    name: always('Name', text),
    uid: always('UID', text),
    gid: always('GID', text),
    mode: always('Mode', fileMode),
  });

interface SecretReference extends Omit<PayloadReference, 'file'> {
  readonly file?: FileTarget;
}
interface ConfigReference extends SecretReference {
  readonly runtime?: object;
}

const noFile: FileTarget = { name: '', uid: '', gid: '', mode: 0 };

export const secretReference: Codec<PayloadReference> = via(
  struct<SecretReference>('SecretReference', {
    file: always('File', ptr(fileTarget('SecretReferenceFileTarget'))),
    id: always('SecretID', text),
    name: always('SecretName', text),
  }),
  ({ id, name, file }, at: Decoding): PayloadReference => {
    if (file === undefined)
      at.refuse(
        controlApiError(
          'invalidArgument',
          `malformed secret reference${id === '' || name === '' ? '' : ', no target provided'}`,
        ),
      );
    return { id, name, file: file ?? noFile };
  },
  (reference) => reference,
);

export const configReference: Codec<PayloadReference> = via(
  struct<ConfigReference>('ConfigReference', {
    file: field('File', ptr(fileTarget('ConfigReferenceFileTarget'))),
    runtime: field('Runtime', ptr(struct<object>('ConfigReferenceRuntimeTarget', {})), 40),
    id: always('ConfigID', text),
    name: always('ConfigName', text),
  }),
  ({ id, name, file, runtime }, at: Decoding): PayloadReference => {
    const wrong = file
      ? runtime && 'invalid Config: cannot specify both File and Runtime'
      : runtime
        ? 'invalid Config: a Runtime target is of credential specs, which are of Windows'
        : 'invalid Config: either File or Runtime should be set';
    if (wrong !== undefined) at.refuse(new SkepError('invalidArgument', wrong));
    return { id, name, file: file ?? noFile };
  },
  (reference) => reference,
);
