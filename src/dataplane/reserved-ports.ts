/** Which of the host's reserved ports are ours, on disk. A boot forgets what was reserved, and so is forgotten what was ours. */
import type { Reservations, ReservationsRecord } from './kernel/reserved-ports.js';
import { noReservations } from './kernel/reserved-ports.js';
import type { ReservationsFile } from './state-file.js';
import { DamagedFileError } from './state-file.js';

export class ReservationsStore implements ReservationsRecord {
  private constructor(
    private readonly file: ReservationsFile,
    private readonly bootId: string,
    private reservations: Reservations,
  ) {}

  /**
   * Rejects with the file system's error. A damaged file is reported to `onDamaged`: then all that is reserved counts as others',
   * and stays.
   */
  static async load(
    file: ReservationsFile,
    bootId: string,
    onDamaged: (err: unknown) => void,
  ): Promise<ReservationsStore> {
    try {
      const found = await file.load();
      return new ReservationsStore(file, bootId, found?.bootId === bootId ? found : noReservations);
    } catch (err) {
      if (!(err instanceof DamagedFileError)) throw err;
      onDamaged(err);
      return new ReservationsStore(file, bootId, noReservations);
    }
  }

  get current(): Reservations {
    return this.reservations;
  }

  async save({ wanted, added }: Reservations): Promise<void> {
    await this.file.save({ bootId: this.bootId, wanted, added });
    this.reservations = { wanted, added };
  }
}
