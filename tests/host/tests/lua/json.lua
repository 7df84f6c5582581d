-- util.TableToJSON and util.JSONToTable.

local function same(got, wanted)
    if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end
local tests = {}

function tests.writing()
    same(util.TableToJSON({}), "[]")
    same(util.TableToJSON({ 1, "a", true, 0.1 }), '[1.0,"a",true,0.1]')
    same(util.TableToJSON({ a = { b = {} } }), '{"a":{"b":[]}}')
    same(util.TableToJSON({ [5] = "x" }), '{"5":"x"}')
    same(util.TableToJSON({ 'q"\\\n\1' }), '["q\\"\\\\\\n\\u0001"]')
    same(util.TableToJSON({ Vector(1, 2.5, 3), Angle(1, 2, 3) }), '["[1 2.5 3]","{1 2 3}"]')
    same(util.TableToJSON({ [true] = 1, a = 0 / 0 }), '{"a":null}')
    same(util.TableToJSON({ a = { 1 } }, true), '{\n\t"a": [\n\t\t1.0\n\t]\n}')
    local cycle = {}
    cycle.x = cycle
    same(pcall(util.TableToJSON, cycle), false)
    same(pcall(util.TableToJSON, "x"), false)
end

function tests.reading()
    local t = util.JSONToTable(' {"a": [1, -2.5e2, null, "x\\u00e9\\ud83d\\ude00\\n"], "7": true, "v": "[1 2 3]", "w": "{1 2 3}"} ')
    same(t.a[1] + t.a[2], -249)
    same(t.a[3], "x\195\169\240\159\152\128\n")
    same(t[7], true)
    same(isvector(t.v) and isangle(t.w), true)
    local raw = util.JSONToTable('{"7":"[1 2 3]"}', false, true)
    same(raw["7"], "[1 2 3]")
end

function tests.refusing()
    for _, text in ipairs({ "", "1", '"x"', "{", "[1,]", "{1:2}", '{"a" 1}', "[1] x", '["\\q"]', "null", ("["):rep(300) }) do
        same(util.JSONToTable(text), nil)
    end
end

function tests.round_trip()
    local t = { name = "x", list = { 1, 2, 3 }, deep = { pi = math.pi, big = 2 ^ 53 - 1 } }
    local back = util.JSONToTable(util.TableToJSON(t))
    same(back.deep.pi, math.pi)
    same(back.deep.big, 2 ^ 53 - 1)
    same(#back.list, 3)
end

host.run_tests(tests)
host.quit()
