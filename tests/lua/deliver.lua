-- The test publishes the rows of testdata/json/deliver.txt in order; this script checks what On delivers for each.
require("realtime")

local expected = {}
for line in string.gmatch(host.io.open(host.arg.rows, "rb"):read("*a"), "[^\n]+") do
	if line:sub(1, 1) ~= "#" then expected[#expected + 1] = line:match(" | (.*)$") end
end

local function same(a, b)
	if type(a) ~= "table" or type(b) ~= "table" then return a == b end
	for k, v in pairs(a) do if not same(v, b[k]) then return false end end
	for k in pairs(b) do if a[k] == nil then return false end end
	return true
end

local row, bad = 0, 0
realtime.On("row", "check", function(data, channel, meta)
	row = row + 1
	local want = CompileString("return " .. expected[row], "row")()
	local raw = expected[row] == [["not json"]] or expected[row] == [["{\"a\":1"]] or expected[row] == [[""]]
	if not same(data, want) or channel ~= "row" or (meta.raw or false) ~= raw or meta.pattern ~= nil then
		bad = bad + 1
		print("FAIL row " .. row .. ": expected " .. expected[row])
	end
	if row == #expected then
		print((row - bad) .. " passed, " .. bad .. " failed")
		host.quit(bad == 0 and 0 or 1)
	end
end)
-- When this event arrives, the subscriptions before it are in force.
realtime.On("ready", function() print("ready") end)
realtime.Emit("ready", { 1 })
