<?php
// How often this page was asked for, counted in Redis.
$redis = new Redis();
$redis->connect(getenv('REDIS_HOST'));
header('Content-Type: text/plain');
echo $redis->incr('visits'), "\n";
