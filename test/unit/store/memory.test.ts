import { MemoryStore } from '../../../src/controlplane/store/memory.js';
import { storeConformance } from './conformance.js';

storeConformance('MemoryStore', async () => {
  let nowMs = 0;
  const store = new MemoryStore({ clock: { nowMs: () => nowMs } });
  return {
    store,
    // Commits happen within the call, so this is another writer that was quicker.
    interfere: (write) => void store.update(write),
    setTimeMs: (value) => (nowMs = value),
    close: () => store.close(),
  };
});
