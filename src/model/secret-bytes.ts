/**
 * Octets that must not show: JSON, logs and the inspector get a word instead, and whoever needs them has to say so.
 * They are an ordinary property, because two values must differ by content for isDeepStrictEqual.
 */
export class SecretBytes {
  private readonly bytes: Buffer;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes);
  }

  /** The octets themselves. */
  reveal(): Buffer {
    return this.bytes;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return this.toString();
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
}
