/** A CA of a user's own and what it signs, for the API over TCP. */
import 'reflect-metadata'; // First: @peculiar/x509 needs it when it is loaded.
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const hourMs = 3_600_000;

export interface Keyed {
  readonly certPem: string;
  readonly keyPem: string;
}

export class TestCa {
  private constructor(
    private readonly keys: webcrypto.CryptoKeyPair,
    private readonly certificate: x509.X509Certificate,
  ) {}

  static async create(): Promise<TestCa> {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: 'CN=test-ca',
      ...validity(hourMs),
      signingAlgorithm: algorithm,
      keys,
      extensions: [new x509.BasicConstraintsExtension(true)],
    });
    return new TestCa(keys, certificate);
  }

  get certPem(): string {
    return `${this.certificate.toString('pem')}\n`;
  }

  /** @param subject as in `CN=alice,OU=skep-operator` */
  async issue(subject: string, { validMs = hourMs } = {}): Promise<Keyed> {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      subject,
      issuer: this.certificate.subject,
      ...validity(validMs),
      signingAlgorithm: algorithm,
      publicKey: keys.publicKey,
      signingKey: this.keys.privateKey,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
    });
    const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
    return {
      certPem: `${certificate.toString('pem')}\n`,
      keyPem: `-----BEGIN PRIVATE KEY-----\n${key.replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`,
    };
  }
}

const newKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
const validity = (validMs: number) => ({
  notBefore: new Date(Date.now() - hourMs),
  notAfter: new Date(Date.now() + validMs),
});
