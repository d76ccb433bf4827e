/** Classic BPF (struct sock_filter, linux/filter.h), as sockets take it for their filters. Pure. */

/** Code, jump if true, jump if false, k. */
export type BpfInstruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

export const classicBpf = (program: readonly BpfInstruction[]): Buffer =>
  Buffer.concat(
    program.map(([code, jumpTrue, jumpFalse, k]) => {
      const instruction = Buffer.alloc(8);
      // The machine's order; all that Node runs on with BPF and IPVS are little-endian.
      instruction.writeUInt16LE(code, 0);
      instruction.writeUInt8(jumpTrue, 2);
      instruction.writeUInt8(jumpFalse, 3);
      instruction.writeUInt32LE(k, 4);
      return instruction;
    }),
  );
