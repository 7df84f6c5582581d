-- Prints the name of everything that the module offers to scripts.
require("realtime")
for name in SortedPairs(realtime) do print("name " .. name) end
host.quit()
