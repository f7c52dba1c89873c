/** The list of operations: bars move; a new operation brings the list anew. */

import { follow } from "./live.js";
import { refreshParts, throttled } from "./page.js";
import { showProgress } from "./progress.js";

const refresh = throttled(1000, refreshParts);

follow({
  operations: (changed) => changed.forEach((operation) => {
    const row = document.querySelector(`[data-operation="${CSS.escape(operation.id)}"]`);
    if (row) showProgress(row, operation);
    if (!row || operation.final) refresh();
  }),
  again: refresh,
});
