-- Emits an event every tenth of a second until the test ends the server.
require("realtime")
timer.Create("speak", 0.1, 0, function() realtime.Emit("player:death", { killer = "Zoé", victim = "Alice" }) end)
