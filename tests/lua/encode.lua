-- Emits each row of testdata/json/encode.txt; the test reads the payloads from Redis.
-- Prints `refused <row> <reason>` when Emit refuses one.
require("realtime")

ply = host.player({ name = "Jo \"\240\159", steamid64 = "76561198000000001", userid = 7 })
ent = host.entity({ class = "prop_physics", index = 42 })
loop = {}
loop.loop = loop
function deep(n) local t = {} for _ = 1, n do t = { t } end return t end
-- Every level has the keys 1 and `name`, so each table is array and object at once.
function mixed(n) local t = { x = 1 } for _ = 1, n do t = { t, name = "x" } end return t end
function wide(n) local t = {} for i = 1, n do t[i] = 0 end return t end

local rows = {}
for line in string.gmatch(host.io.open(host.arg.rows, "rb"):read("*a"), "[^\n]+") do
	if line:sub(1, 1) ~= "#" then rows[#rows + 1] = line:match("^(.-) | ") end
end

for i, expression in ipairs(rows) do
	local value = CompileString("return " .. expression, expression)()
	local ok, reason = realtime.Emit("row", value)
	if not ok then print("refused " .. i .. " " .. reason) end
end
realtime.Emit("row", "end")
print("emitted " .. #rows)
timer.Create("wait", 0, 0, function()
	local outbox = realtime.Stats().outbox
	if outbox.waiting == 0 and outbox.delivered > 0 then host.quit(0) end
end)
