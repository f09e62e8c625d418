-- For wrk: one client after the other, told apart by X-Forwarded-For, evenly and in no order.
-- Arguments: how many there are, and how many requests were made before.
local count, n, head

function init(args)
    count, n = tonumber(args[1]), tonumber(args[2])
    head = string.sub(wrk.format(), 1, -3) .. "X-Forwarded-For: 10."
end

function request()
    n = n + 1
    local client = n * 611953 % count
    return head .. math.floor(client / 65536) .. "." .. math.floor(client / 256) % 256 .. "." .. client % 256 ..
        "\r\n\r\n"
end
